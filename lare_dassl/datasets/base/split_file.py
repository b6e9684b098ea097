"""split.json: the names of the images that a run trained on, selected by and tested on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.io.files import composed, replaced

from .image_dataset import ImageDataset, ImageItem

FORMAT = "split/1"
FILE_NAME = "split.json"


def write_split(folder: Path, dataset: ImageDataset, cfg: CfgNode) -> Path:
    """Write `split_content` into the folder of a run, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE_NAME
    with replaced(path) as temporary:
        text = json.dumps(split_content(dataset, cfg), indent=1) + "\n"
        temporary.write_text(text, encoding="ascii", newline="\n")
    return path


def split_content(dataset: ImageDataset, cfg: CfgNode) -> dict[str, Any]:
    """A split in the format `split/1`: the same for every trainer and every place of the data.

    Args:
        dataset: the images that the run sees; they are named by `image_names`.
        cfg: the configuration of the run.
    """
    settings = SplitSettings.from_cfg(cfg)
    skipped = {name: path_names(items, dataset.root) for name, items in dataset.skipped.items()}
    return {
        "format": FORMAT,
        "dataset": dataset.name,
        "seed": cfg.SEED,
        "shots": settings.shots,
        "long_tail": {"ratio": settings.ratio, "profile": settings.profile, "min_images": settings.min_images},
        "reached_ratio": reached_ratio(dataset.train),
        **image_names(dataset),
        **({"skipped": skipped} if any(skipped.values()) else {}),
    }


def image_names(dataset: ImageDataset) -> dict[str, Sequence[int | str]]:
    """The names of a dataset's images in split.json, by split: row numbers where it has them, else `path_names`."""
    return {
        name: dataset.rows[name] if dataset.rows else path_names(items, dataset.root)
        for name, items in dataset.splits().items()
    }


def path_names(items: Iterable[ImageItem], root: str | Path) -> list[str]:
    """The paths of images with forward slashes, relative to the root where they are below it, else absolute."""
    base = _absolute(str(Path(root).expanduser())) + "/"
    return [composed(_absolute(item.path).removeprefix(base)) for item in items]


def _absolute(path: str) -> str:
    # Path.absolute keeps "..", and takes ten times as long, which hundreds of thousands of images feel.
    return os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100


def reached_ratio(items: Iterable[ImageItem]) -> float:
    """Size of the largest class to that of the smallest: the ratio asked for, but for rounding and a least size."""
    sizes = Counter(item.label for item in items).values()
    return max(sizes) / min(sizes)


def without_names(dataset: ImageDataset, names: Container[str]) -> ImageDataset:
    """The dataset with those images skipped that have one of these names in split.json, see `path_names`."""
    items = dataset.items()
    named = zip(items, path_names(items, dataset.root), strict=True)
    return dataset.without({Path(item.path) for item, name in named if name in names})
