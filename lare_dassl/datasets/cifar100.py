"""CIFAR-100 from its official files or from image folders. (`CIFAR100` is a dataset of Dassl's own.)"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from lare_dassl.datasets.base.checks import check_tested, refuse_partial, shown_names
from lare_dassl.datasets.base.class_names import CIFAR100_CLASSES, cifar100_class
from lare_dassl.datasets.base.domains import chosen_domains
from lare_dassl.datasets.base.hash_split import split_groups
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.image_tree import dataset_root, folders_in, images_in
from lare_dassl.datasets.base.sources import how_to_get
from lare_dassl.errors import InputError, unknown_name, unreadable
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io.files import Marker, filled_folder, make_folder
from lare_dassl.io.sha256 import file_sha256

from .cifar_files import MD5, ORIGIN, CifarRows, check_class_names, read_rows

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
OFFICIAL_FOLDER, UNPACKED_FOLDER, IMAGE_FOLDER = "cifar-100-python", "cifar-100-images", "cifar100"
MARKER = "unpacked.txt"
LONGEST_NAME = 80


COUNTS = {"train": 500, "test": 100}
"""Images of each class in a complete copy, by split."""


@DATASET_REGISTRY.register()
class CIFAR100Official(HostDataset):
    """CIFAR-100, 100 classes of 32 x 32 photos in one domain, for few-shot and imbalanced training.

    DATASET.ROOT holds the official files `cifar-100-python/{train,test,meta}`, or image folders
    `cifar100/{train,test}/<class>/`, the layout of Dassl; it may also be either folder itself. Class folders may be
    spelled as the web page of CIFAR-100 does ("sweet peppers", "lawn-mower").

    The images of official files are unpacked once, without loss, to
    `<ROOT>/cifar-100-images/{train,test}/<class>/<row>_<name>.png`, so that any trainer finds them by path. A split
    appears there once it is complete; from then on the official file is not needed. A changed file is unpacked anew.

    The official training images are split within each class by a stable hash of their path below the folder of the two
    splits: DATASET.VAL_FRACTION of them are val, the rest train. The official test images are the in-domain test.
    An official file is known by its md5; one of other content is refused, or read where DATASET.ALLOW_PARTIAL takes it.
    Labels are the official ones, alphabetical. DATASET.TEST_FRACTION is not used.

    Raises:
        InputError: files are missing, damaged or not official, the images cannot be unpacked, class folders or counts
            are not those of CIFAR-100, or the domains or shots do not fit.
    """

    domains = ("photo",)
    ignores = ("DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE", "DATASET.FOLDER", "DATASET.EXPECTED_IMAGES")

    def read(self, cfg: Any) -> ImageDataset:
        """The official training images in train and val, the official test images in test."""
        source, target = chosen_domains(cfg, self.domains, self.domains)
        root = image_folder(cfg, dataset_root(cfg, f"{OFFICIAL_FOLDER}/ or {IMAGE_FOLDER}/", ORIGIN))
        of_train, of_test = (_paths_by_class(cfg, root, split) for split in SPLITS)
        split = split_groups(of_train.values(), cfg.DATASET.VAL_FRACTION, 0)
        label_of = _labels(of_train) | _labels(of_test)
        split.test.extend(_labels(of_test))
        check_tested(self.domains if split.test else (), source, how_to_get(ORIGIN))

        def items(paths: Iterable[str]) -> list[ImageItem]:
            return [ImageItem(f"{root}/{path}", label_of[path], domain=0) for path in paths]

        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=items(split.train),
            val=items(split.val),
            test=items(split.test),
            classnames=CIFAR100_CLASSES,
            domain_names=self.domains,
            source_domains=source,
            target_domains=target,
            root=root,
        )


def image_folder(cfg: Any, root: Path) -> Path:
    """The folder with `train/<class>/` and `test/<class>/`, in DATASET.ROOT; official files are unpacked first.

    Raises:
        InputError: there are neither official files nor image folders, or the files cannot be read or unpacked.
    """
    for folder in (root / OFFICIAL_FOLDER, root):
        if any((folder / split).is_file() for split in SPLITS):
            return _unpacked(cfg, root, folder)
    if any((root / UNPACKED_FOLDER / split / MARKER).is_file() for split in SPLITS):
        return _unpacked(cfg, root, root / OFFICIAL_FOLDER)
    for folder in (root / IMAGE_FOLDER, root):
        if all((folder / split).is_dir() for split in SPLITS):
            return folder
    raise InputError(
        f"DATASET.ROOT '{root}' has neither the official files {OFFICIAL_FOLDER}/{{train,test,meta}} nor image folders "
        f"{IMAGE_FOLDER}/{{train,test}}/<class>/: {how_to_get(ORIGIN)}"
    )


def _unpacked(cfg: Any, root: Path, official: Path) -> Path:
    """The folder that the official files are unpacked to; what is complete there stays."""
    folder = root / UNPACKED_FOLDER
    for split in SPLITS:
        file, target = official / split, folder / split
        if file.is_file():
            marker = Marker(MARKER, f"CIFAR-100 {split}, unpacked from the file of sha256 {_sha256(file)}\n")
            if not marker.is_in(target):
                _check_official(cfg, file)
                _unpack(file, target, marker)
        elif not (target / MARKER).is_file():
            raise InputError(f"no official file '{file}': {how_to_get(ORIGIN)}")
    return folder


def _sha256(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise unreadable(f"'{file}'", error) from error


def _check_official(cfg: Any, file: Path) -> None:
    with file.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != MD5[file.name]:
        refuse_partial(cfg, f"'{file}' has md5 {found}, the official file {MD5[file.name]}", how_to_get(ORIGIN))


def _unpack(file: Path, target: Path, marker: Marker) -> None:
    check_class_names(file.with_name("meta"))
    rows = read_rows(file)
    make_folder(target.parent, "the images of CIFAR-100 are unpacked below --root, DATASET.ROOT")
    logger.info("unpacking '%s' to %s", file, target)
    with filled_folder(target, marker) as folder:
        _write_images(rows, folder)


def _write_images(rows: CifarRows, folder: Path) -> None:
    for name in CIFAR100_CLASSES:
        (folder / name).mkdir()
    for row, image in enumerate(tqdm(rows.images, desc="unpacking CIFAR-100", unit="image", mininterval=0.5)):
        name = _file_name(row, rows.names[row])
        Image.fromarray(image).save(folder / CIFAR100_CLASSES[rows.labels[row]] / name, compress_level=1)


def _file_name(row: int, official: str) -> str:
    """A file name that no other row has, of letters, digits, hyphens and underscores."""
    return f"{row:05}_{re.sub(r'[^A-Za-z0-9-]+', '_', official.removesuffix('.png'))[:LONGEST_NAME]}.png"


def _paths_by_class(cfg: Any, folder: Path, split: str) -> dict[str, list[str]]:
    """The images of each official class, in the order of the labels, as paths below the folder of the two splits."""
    folder_of = _match_folders(cfg, folder / split)
    paths: dict[str, list[str]] = {name: [] for name in CIFAR100_CLASSES}
    for name, found_folder in folder_of.items():
        prefix = f"{split}/{found_folder}"
        paths[name] = [f"{prefix}/{image}" for image in images_in(folder / prefix)]
    expected = COUNTS[split]
    other = {name: len(of_class) for name, of_class in paths.items() if len(of_class) != expected}
    if other:
        total, (name, found) = sum(map(len, paths.values())), next(iter(other.items()))
        problem = f"'{folder / split}' has {total:,} images, expected {expected * len(CIFAR100_CLASSES):,}"
        refuse_partial(cfg, f"{problem} ({found} of class '{name}', expected {expected})", how_to_get(ORIGIN))
    return paths


def _labels(paths: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The label of each path, in the order of the labels."""
    label_of: dict[str, int] = {}
    for label, of_class in enumerate(paths.values()):
        label_of |= dict.fromkeys(of_class, label)
    return label_of


def _match_folders(cfg: Any, folder: Path) -> Mapping[str, str]:
    """The folder of each official class."""
    folder_of: dict[str, str] = {}
    for found in folders_in(folder):
        name = cifar100_class(found)
        if name is None:
            raise unknown_name(f"class of CIFAR-100 in '{folder}',", found, CIFAR100_CLASSES)
        if name in folder_of:
            raise InputError(
                f"'{folder}' has two folders of class '{name}', '{folder_of[name]}' and '{found}': keep one"
            )
        folder_of[name] = found
    lacking = [name for name in CIFAR100_CLASSES if name not in folder_of]
    if lacking:
        refuse_partial(cfg, f"'{folder}' lacks {len(lacking)} classes ({shown_names(lacking)})", how_to_get(ORIGIN))
    return folder_of
