"""The demo world: rendered shapes × colours in six styles, drawn where they are missing. No download."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lare_dassl.datasets.base.domains import chosen_domains
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.demo.rendering import COLOURS, SHAPES, STYLES, render
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io.files import Marker, filled_folder, make_folder

logger = logging.getLogger(__name__)

FOLDER = "demo_world"
MARKER = "rendering.txt"
VERSION = 1
RENDERING_SEED = 61_283
"""First entry of every rendering seed of the dataset; pretraining of the demo VLM starts from another one."""

IMAGES_PER_CLASS = {"train": 16, "val": 4, "test": 10}
"""Images of each class, in each domain, by split."""

SCENES: dict[str, tuple[str, str]] = {f"{colour} {shape}": (shape, colour) for shape in SHAPES for colour in COLOURS}
"""Shape and colour of each class, in the order of the labels."""


@dataclass(frozen=True)
class Part:
    """One split of one domain, which is rendered at once and appears on disk as a whole."""

    domain: str
    split: str

    def folder(self, root: Path) -> Path:
        """Its folder of images, in the folder of the demo world."""
        return root / self.domain / self.split

    def images(self) -> Iterator[tuple[int, str, str]]:
        """Label, class name and relative path of each image, class by class."""
        for label, name in enumerate(SCENES):
            for index in range(IMAGES_PER_CLASS[self.split]):
                yield label, name, f"{name.replace(' ', '_')}/{index:03d}.png"

    def marker(self) -> Marker:
        """The file that marks a complete rendering by this version."""
        count = f"{len(SCENES)} classes of {IMAGES_PER_CLASS[self.split]} images"
        return Marker(MARKER, f"demo world {VERSION}: {count}\n")


@DATASET_REGISTRY.register()
class DemoWorld(HostDataset):
    """Train on shapes in one style (photo, where the config names no other), test on that style and on the five others.

    The images are rendered below `<DATASET.ROOT>/demo_world/<domain>/<split>/<class>/` the first time, a few seconds'
    work. A split of a domain appears there only once it is complete, so a killed rendering leaves nothing that counts.

    Raises:
        InputError: the folder cannot be written to, or the domains or DATASET.NUM_SHOTS do not fit.
    """

    domains = tuple(STYLES)
    ignores = (
        *("DATASET.VAL_FRACTION", "DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE", "DATASET.FOLDER"),
        *("DATASET.EXPECTED_IMAGES", "DATASET.ALLOW_PARTIAL"),
    )

    def read(self, cfg: Any) -> ImageDataset:
        """Train and val of the source domains, test of all chosen ones."""
        others = [name for name in self.domains if name != "photo"]
        source, target = chosen_domains(cfg, self.domains, ["photo"], others)
        if not str(cfg.DATASET.ROOT):
            raise InputError("DATASET.ROOT is empty: give a folder for the rendered images with --root")
        root = make_folder(Path(str(cfg.DATASET.ROOT)).expanduser().absolute() / FOLDER, "--root, DATASET.ROOT")
        train, val = [Part(name, "train") for name in source], [Part(name, "val") for name in source]
        test = [Part(name, "test") for name in self.domains if name in {*source, *target}]
        render_missing(root, [*train, *val, *test])
        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=_items(root, train),
            val=_items(root, val),
            test=_items(root, test),
            classnames=tuple(SCENES),
            domain_names=self.domains,
            source_domains=source,
            target_domains=target,
            root=root,
        )


def _items(root: Path, parts: Iterable[Part]) -> list[ImageItem]:
    items: list[ImageItem] = []
    for part in parts:
        domain, folder = list(STYLES).index(part.domain), part.folder(root)
        items += [ImageItem(f"{folder}/{path}", label, domain) for label, _, path in part.images()]
    return items


def render_missing(root: Path, parts: list[Part]) -> None:
    """Render the parts that are not complete in the folder of the demo world.

    Raises:
        InputError: an image cannot be written.
    """
    missing = [part for part in parts if not is_complete(root, part)]
    if not missing:
        return
    logger.info("rendering the demo world in %s", root)
    total = sum(len(SCENES) * IMAGES_PER_CLASS[part.split] for part in missing)
    with tqdm(total=total, desc="rendering", unit="image", mininterval=0.5) as progress:
        for part in missing:
            with filled_folder(part.folder(root), part.marker()) as folder:
                _render_images(folder, part, progress)


def is_complete(root: Path, part: Part) -> bool:
    """True where a part was rendered, whole and by this version."""
    return part.marker().is_in(part.folder(root))


def _render_images(folder: Path, part: Part, progress: tqdm) -> None:
    for name in SCENES:
        (folder / name.replace(" ", "_")).mkdir()
    place = [list(STYLES).index(part.domain), list(IMAGES_PER_CLASS).index(part.split)]
    for number, (_, name, path) in enumerate(part.images()):
        rng = np.random.default_rng([RENDERING_SEED, *place, number])
        Image.fromarray(render(*SCENES[name], part.domain, rng)).save(folder / path, compress_level=1)
        progress.update()
