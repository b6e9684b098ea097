"""Images that a dataset lists, before it is known whether they are files at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lare_dassl.host.door import Datum


@dataclass(frozen=True)
class ImageItem:
    """What a Datum holds, which is refused by both hosts where there is no file.

    Attributes:
        impath: path of the image.
        label: class, counted from 0.
        domain: domain, counted from 0.
        classname: name of the class.
    """

    impath: str
    label: int
    domain: int
    classname: str


def files_alone(
    parts: Mapping[str, Sequence[ImageItem]],
) -> tuple[dict[str, list[Datum]], dict[str, list[ImageItem]]]:
    """The images that are files, and the others (links to nothing, pipes), both by split.

    A dataset keeps the others in `no_files`: `split_items` puts them back, and they are told of with all images
    that cannot be read, see bad_images.py.
    """
    there = {name: [_is_file(Path(item.impath)) for item in items] for name, items in parts.items()}
    pairs = {name: list(zip(items, there[name], strict=True)) for name, items in parts.items()}
    data = {name: [Datum(**asdict(item)) for item, is_file in of if is_file] for name, of in pairs.items()}
    return data, {name: [item for item, is_file in of if not is_file] for name, of in pairs.items()}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
