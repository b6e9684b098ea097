"""Cutting images into train, val and test by a hash of their paths: alike on every machine, in every order of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from lare_dassl.errors import InputError
from lare_dassl.io.files import composed

from .subsets import rounded

HASH_BITS = 53


@dataclass(frozen=True)
class Split:
    """Paths of the images of train, val and test; no path is in two of the lists."""

    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


def stable_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: on no machine, no order of files and no library version.

    Args:
        key: the path of an image relative to the root of its dataset, with forward slashes.
    """
    digest = hashlib.sha256(composed(key).encode("utf-8", "surrogateescape")).digest()
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
    test_size = min(rounded(len(keys) * test_fraction), spare)
    val_size = min(rounded(len(keys) * val_fraction), spare - test_size)
    order = sorted(keys, key=lambda key: (stable_fraction(key), composed(key)))
    test, val = set(order[:test_size]), set(order[test_size : test_size + val_size])
    return Split(
        train=[key for key in keys if key not in test and key not in val],
        val=[key for key in keys if key in val],
        test=[key for key in keys if key in test],
    )


def split_groups(groups: Iterable[Sequence[str]], val_fraction: float, test_fraction: float) -> Split:
    """Cut each of several groups by `split_by_hash`, and put their parts together."""
    parts = [split_by_hash(keys, val_fraction, test_fraction) for keys in groups]
    return Split(
        train=list(chain.from_iterable(part.train for part in parts)),
        val=list(chain.from_iterable(part.val for part in parts)),
        test=list(chain.from_iterable(part.test for part in parts)),
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
