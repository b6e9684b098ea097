"""Images that cannot be read: refused all at once, or left out of the run and counted (DATASET.BAD_IMAGES)."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from pathlib import Path

from yacs.config import CfgNode

from lare_dassl.datasets.base.image_dataset import SPLITS, ImageDataset
from lare_dassl.embeddings.encoder.unreadable import SHOWN, shown_causes, unreadable_error
from lare_dassl.errors import InputError, UnreadableError, printable
from lare_dassl.io.files import replaced

logger = logging.getLogger(__name__)

LIST_FILE = "unreadable_images.txt"
ROLES = {"train": "training", "val": "validation", "test": "test"}


def readable_images(cfg: CfgNode, dataset: ImageDataset, causes: Mapping[Path, str]) -> ImageDataset:
    """The dataset with the images that cannot be read skipped; the log counts and names them.

    Args:
        cfg: the configuration; DATASET.BAD_IMAGES and OUTPUT_DIR are read.
        dataset: all its images.
        causes: paths of the images that cannot be read, each with the cause.

    Raises:
        InputError: there is one, and DATASET.BAD_IMAGES is "error"; or no image is left of a class to train on, or of a
            domain to test on. Where the message has no room for all of them, it names a file that lists them.
    """
    if not causes:
        return dataset
    listed = _write_list(Path(cfg.OUTPUT_DIR), causes) if len(causes) > SHOWN else None
    if cfg.DATASET.BAD_IMAGES == "error":
        error = unreadable_error(causes, sum(dataset.sizes().values()), listed)
        raise UnreadableError(f"{error}; DATASET.BAD_IMAGES skip leaves them out")
    for name, items in dataset.splits().items():
        of_split = {path: causes[path] for item in items if (path := Path(item.path)) in causes}
        if of_split:
            _warn_of_skipped(name, of_split, len(items), listed)
    _check_what_is_left(dataset, causes)
    return dataset.without(causes)


def _write_list(folder: Path, causes: Mapping[Path, str]) -> Path:
    """Write a line for each image, with the cause behind a tab."""
    with replaced(folder / LIST_FILE) as temporary:
        lines = (f"{printable(str(path))}\t{printable(cause)}\n" for path, cause in causes.items())
        temporary.write_text("".join(lines), encoding="utf-8")
    return folder / LIST_FILE


def _warn_of_skipped(name: str, causes: Mapping[Path, str], size: int, listed: Path | None) -> None:
    note = "" if name == "train" else f"; what is measured on {name} is measured on the other {size - len(causes)}"
    logger.warning(
        "DATASET.BAD_IMAGES skip: %d of %d %s images cannot be read and are left out%s: %s",
        *(len(causes), size, ROLES[name], note, shown_causes(causes, listed)),
    )


def _check_what_is_left(dataset: ImageDataset, unreadable: Container[Path]) -> None:
    """Refuse to leave out all images of a class to train on, or of a domain to test on."""
    trained = {item.label for item in dataset.train if Path(item.path) not in unreadable}
    for item in dataset.train:
        if item.label not in trained:
            name = dataset.classnames[item.label]
            raise InputError(f"none of the training images of class '{name}' can be read: mend one of them")
    tested = {item.domain for item in dataset.test if Path(item.path) not in unreadable}
    for item in dataset.test:
        if item.domain not in tested:
            raise InputError(
                f"none of the test images of the domain of {item.path} can be read: mend one of them, or take the "
                "domain out of the run"
            )


def count_skipped(dataset: ImageDataset) -> dict[str, int]:
    """How many images are left out of each split, for the record."""
    return {name: len(dataset.skipped.get(name, ())) for name in SPLITS}
