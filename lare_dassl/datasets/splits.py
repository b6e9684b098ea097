"""Which images are trained on: few-shot subsets, and train/val/test splits by a stable hash of the path."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lare_dassl.dassl_api import Datum
from lare_dassl.errors import InputError

ALL_SHOTS = -1
HASH_BITS = 53


@dataclass(frozen=True)
class Split:
    """Keys (paths, or whatever names an image) of the three parts of a dataset; no key is in two of them."""

    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)

    def extend(self, other: Split) -> None:
        """Append the three parts of another split to those of this one."""
        self.train.extend(other.train)
        self.val.extend(other.val)
        self.test.extend(other.test)


def few_shot(items: Sequence[Datum], shots: int, seed: int) -> list[Datum]:
    """Keep `shots` images of every class, in their original order.

    Args:
        items: the training images; every label of 0..C-1 is expected to occur.
        shots: images per class, from 1; -1 keeps all.
        seed: equal seeds give equal subsets, and a smaller subset lies inside a larger one; below 0 every call differs.

    Raises:
        InputError: `shots` is neither -1 nor at least 1, or larger than the number of images of a class.
    """
    names = {item.label: item.classname for item in items}
    classnames = [names.get(label, f"with label {label}") for label in range(max(names, default=-1) + 1)]
    labels = np.array([item.label for item in items], dtype=np.int64)
    return [items[row] for row in few_shot_rows(labels, shots, seed, classnames)]


def few_shot_rows(labels: np.ndarray, shots: int, seed: int, classnames: Sequence[str]) -> np.ndarray:
    """The rows that `few_shot` keeps, ascending.

    Each class has one permutation of its rows, made from (seed, label) alone, and the subset is a prefix of it: so the
    4-shot rows contain the 2-shot rows of the same seed, and other classes have no influence.

    Args:
        labels: (N,) integers in 0..C-1.
        shots: rows per class, from 1; -1 keeps all.
        seed: see `few_shot`.
        classnames: the C names, for messages.

    Returns:
        (C * shots,) int64, or (N,) where `shots` is -1.

    Raises:
        InputError: as `few_shot`.
    """
    if shots == ALL_SHOTS:
        return np.arange(len(labels))
    if shots < 1:
        raise InputError(f"DATASET.NUM_SHOTS is {shots}: give the images per class, at least 1, or -1 for all")
    chosen = [_rows_of_class(labels, label, shots, seed, name) for label, name in enumerate(classnames)]
    return np.sort(np.concatenate(chosen)) if chosen else np.arange(0)


def _rows_of_class(labels: np.ndarray, label: int, shots: int, seed: int, name: str) -> np.ndarray:
    rows = np.flatnonzero(labels == label)
    if len(rows) < shots:
        raise InputError(
            f"DATASET.NUM_SHOTS is {shots}, but class '{name}' has {len(rows)} training images: lower DATASET.NUM_SHOTS"
        )
    generator = np.random.default_rng([seed, label] if seed >= 0 else None)
    return rows[generator.permutation(len(rows))[:shots]]


def stable_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: on no machine, no order of files and no library version.

    Args:
        key: the path of an image relative to the root of its dataset, with forward slashes.
    """
    # Some file systems decompose accents; the same file must stay in the same part everywhere.
    digest = hashlib.sha256(unicodedata.normalize("NFC", key).encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - HASH_BITS)) / 2.0**HASH_BITS


def split_by_hash(keys: Sequence[str], val_fraction: float, test_fraction: float) -> Split:
    """Cut one group of images (those of one class in one domain) into train, val and test.

    The group is put in the order of `stable_fraction`; the first images are test, the next val, the rest train. Sizes
    are the fractions of the group, rounded half up, then lowered until one image is left for training. So every group
    gives the same shares, and `val_fraction` moves no image into or out of test.

    Args:
        keys: relative paths; every part keeps their order.
        val_fraction: share of val, in [0, 1).
        test_fraction: share of test, in [0, 1).

    Raises:
        InputError: a fraction is out of range, or the two leave nothing to train on.
    """
    check_fractions(val_fraction, test_fraction)
    spare = max(len(keys) - 1, 0)
    test_size = min(_rounded(len(keys) * test_fraction), spare)
    val_size = min(_rounded(len(keys) * val_fraction), spare - test_size)
    order = sorted(keys, key=lambda key: (stable_fraction(key), key))
    test, val = set(order[:test_size]), set(order[test_size : test_size + val_size])
    return Split(
        train=[key for key in keys if key not in test and key not in val],
        val=[key for key in keys if key in val],
        test=[key for key in keys if key in test],
    )


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse shares of val and test that are out of range or leave nothing to train on.

    Raises:
        InputError: with the name and value of the key.
    """
    for key, fraction in (("VAL_FRACTION", val_fraction), ("TEST_FRACTION", test_fraction)):
        if not 0 <= fraction < 1:
            raise InputError(f"DATASET.{key} is {fraction}: give a share of the images, from 0 to below 1")
    if val_fraction + test_fraction >= 1:
        raise InputError(
            f"DATASET.VAL_FRACTION {val_fraction} and DATASET.TEST_FRACTION {test_fraction} leave no training image: "
            "their sum must be below 1"
        )


def _rounded(size: float) -> int:
    return math.floor(size + 0.5)
