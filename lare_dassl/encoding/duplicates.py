"""Images that are in two splits of a dataset, so that a test partly measures memory (DATASET.DUPLICATES).

Equal images have equal embeddings: the encoding cache goes by the content of a file, so copies of it share their
embedding to the last bit, and so do equal rows of an embedding file.
"""

from __future__ import annotations

import hashlib
import logging

import numpy as np
from yacs.config import CfgNode

from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.errors import InputError

logger = logging.getLogger(__name__)

PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))
SHOWN = 3
KEY_WIDTH = 2


def check_duplicates(cfg: CfgNode, dataset: ImageDataset, embeddings: EmbeddingSet) -> dict[str, int]:
    """Warn of images that are in two splits, or refuse them, as DATASET.DUPLICATES says.

    Args:
        cfg: the configuration.
        dataset: the images.
        embeddings: of the images.

    Returns:
        For each pair, such as "train/test", how many images of the second are in the first too.

    Raises:
        InputError: there are such images, and DATASET.DUPLICATES is "error".
    """
    rows = {name: members.embedding.cpu().numpy() for name, members in embeddings.splits().items()}
    counts, problems = {}, []
    for first, second in PAIRS:
        pairs = shared_rows(rows[first], rows[second]) if first in rows and second in rows else []
        counts[f"{first}/{second}"] = len(pairs)
        if pairs:
            examples = [
                _named(dataset, second, there) + " = " + _named(dataset, first, here) for here, there in pairs[:SHOWN]
            ]
            problems.append(
                f"{len(pairs)} of {len(rows[second])} {second} images are in {first} too, such as "
                + ", ".join(examples)
            )
    if problems and cfg.DATASET.DUPLICATES == "error":
        raise InputError(f"{'; '.join(problems)}: take them out of one, or set DATASET.DUPLICATES warn")
    if problems:
        logger.warning("the same image in two splits (DATASET.DUPLICATES): %s", "; ".join(problems))
    return counts


def shared_rows(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """The rows of `second`, float32 (M, D), that are rows of `first`, float32 (N, D), too.

    Returns:
        For each its place in `first`, the first of several, and in `second`, which ascends.
    """
    # Few rows share their first numbers; only those are compared whole.
    start_of_first, start_of_second = _starts(first), _starts(second)
    here = np.flatnonzero(np.isin(start_of_first, start_of_second))
    place_of = {_digest(first[place]): place for place in here[::-1].tolist()}
    there = np.flatnonzero(np.isin(start_of_second, start_of_first)).tolist()
    found = [(place_of.get(_digest(second[place]), -1), place) for place in there]
    return [(place, other) for place, other in found if place >= 0]


def _starts(rows: np.ndarray) -> np.ndarray:
    """The first numbers of each row, as the bits of one integer."""
    width = min(KEY_WIDTH, rows.shape[1])
    starts = np.zeros((len(rows), KEY_WIDTH), dtype=np.float32)
    starts[:, :width] = rows[:, :width]
    return starts.view(np.int64).ravel()


def _digest(row: np.ndarray) -> bytes:
    return hashlib.sha256(row.tobytes()).digest()


def _named(dataset: ImageDataset, split: str, place: int) -> str:
    return f"{split} row {dataset.rows[split][place]}" if dataset.rows else dataset.splits()[split][place].path
