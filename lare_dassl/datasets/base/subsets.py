"""Few-shot and long-tailed training: which of a dataset's training images a run trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lare_dassl.config.split_settings import ALL_SHOTS, SplitSettings
from lare_dassl.errors import InputError

from .image_dataset import ImageDataset

# Behind [seed, 0], so that the order of the classes has a stream of its own beside those of [seed, label].
CLASS_ORDER = 1


def few_images(dataset: ImageDataset, settings: SplitSettings, seed: int) -> ImageDataset:
    """The dataset with those of its training images that the settings keep, see `training_rows`.

    Raises:
        InputError: see `class_counts`.
    """
    if settings.keeps_all:
        return dataset
    labels = np.array([item.label for item in dataset.train], dtype=np.int64)
    return dataset.trained_on(training_rows(labels, settings, seed, dataset.classnames).tolist())


def training_rows(labels: np.ndarray, settings: SplitSettings, seed: int, classnames: Sequence[str]) -> np.ndarray:
    """The rows trained on, ascending.

    Each class has one permutation of its rows, made from (seed, label) alone, and its rows are a prefix of it. So, with
    the same seed, the 4-shot rows contain the 2-shot rows, the rows at ratio 10 those at ratio 100 of the same profile,
    and other classes have no influence on which rows of a class come first.

    Args:
        labels: (N,) integers in 0..C-1.
        settings: how many rows of each class, see `class_counts`.
        seed: equal seeds give equal rows; below 0 every call differs.
        classnames: the C names, for messages.

    Returns:
        (M,) int64, M ≤ N.

    Raises:
        InputError: see `class_counts`.
    """
    if settings.keeps_all or not len(labels):
        return np.arange(len(labels))
    available = np.bincount(labels, minlength=len(classnames)).tolist()
    counts = class_counts(available, settings, seed, classnames)
    chosen = [_rows_of_class(labels, label, count, seed) for label, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen))


def _rows_of_class(labels: np.ndarray, label: int, count: int, seed: int) -> np.ndarray:
    rows = np.flatnonzero(labels == label)
    return rows[_generator(seed, label).permutation(len(rows))[:count]]


def _generator(seed: int, *words: int) -> np.random.Generator:
    return np.random.default_rng([seed, *words] if seed >= 0 else None)


def class_counts(available: Sequence[int], settings: SplitSettings, seed: int, classnames: Sequence[str]) -> list[int]:
    """The number of training images of each class, by label.

    Which class is large and which small follows from the seed alone. The largest class has `settings.shots` images, or,
    with all shots, as many as the dataset's smallest class: so the profile holds exactly, whatever imbalance the
    dataset itself has.

    Args:
        available: number of images of each of the C classes.
        settings: not those that keep all.
        seed: below 0 the order of the classes is drawn anew.
        classnames: the C names, for messages.

    Raises:
        InputError: a class has fewer than `settings.shots` images, or none; the long tail would leave one without any;
            or `min_images` is more than the largest class has.
    """
    fewest = min(range(len(available)), key=available.__getitem__)
    if available[fewest] < max(settings.shots, 1):
        raise _too_few(available[fewest], settings.shots, classnames[fewest])
    largest = available[fewest] if settings.shots == ALL_SHOTS else settings.shots
    counts = profile_counts(largest, len(available), settings)
    order = class_order(len(available), seed).tolist()
    if 0 in counts:
        raise _left_empty(classnames[order[counts.index(0)]], largest, settings)
    count_of = dict(zip(order, counts, strict=True))
    return [count_of[label] for label in range(len(available))]


def class_order(classes: int, seed: int) -> np.ndarray:
    """The labels from the largest class of a long tail to the smallest: a permutation of 0..C-1 by the seed alone."""
    return _generator(seed, 0, CLASS_ORDER).permutation(classes)


def profile_counts(largest: int, classes: int, settings: SplitSettings) -> list[int]:
    """The number of images of the class of each rank c = 0..C-1, rounded half up.

    exp: n_c = n_max · r^(−c/(C−1)) (Cui et al., 2019).
    step: n_max for the first half of the classes, n_max / r for the others (Buda et al., 2018); of an odd
    number of classes the first half has one more.

    Args:
        largest: n_max.
        classes: C.
        settings: r, the profile, and the least count.

    Raises:
        InputError: the least count is above n_max.

    >>> profile_counts(500, 10, SplitSettings(ratio=100))
    [500, 300, 180, 108, 65, 39, 23, 14, 8, 5]
    """
    if settings.min_images > largest:
        raise InputError(
            f"DATASET.LONG_TAIL.MIN_IMAGES is {settings.min_images}, but the largest class has {largest} images: "
            f"lower it to {largest} or less"
        )
    ranks = np.arange(classes)
    steps = ranks / max(classes - 1, 1) if settings.profile == "exp" else ranks >= classes - classes // 2
    # A size of 2.5 must not become 2 by the last bit of a power.
    sizes = [rounded(round(size, 9)) for size in (largest * settings.ratio ** -steps.astype(float)).tolist()]
    return [max(size, settings.min_images) for size in sizes]


def _too_few(count: int, shots: int, name: str) -> InputError:
    if shots == ALL_SHOTS:
        return InputError(f"class '{name}' has no training image: DATASET.LONG_TAIL needs at least 1 of every class")
    return InputError(
        f"DATASET.NUM_SHOTS is {shots}, but class '{name}' has {count} training images: lower DATASET.NUM_SHOTS"
    )


def _left_empty(name: str, largest: int, settings: SplitSettings) -> InputError:
    raising = "" if settings.shots == ALL_SHOTS else "raise DATASET.NUM_SHOTS, "
    return InputError(
        f"DATASET.LONG_TAIL.RATIO {settings.ratio:g} with DATASET.NUM_SHOTS {settings.shots} leaves class '{name}' "
        f"without a training image (the largest class has {largest}): lower DATASET.LONG_TAIL.RATIO to {2 * largest} "
        f"or less, {raising}or set DATASET.LONG_TAIL.MIN_IMAGES 1"
    )


def rounded(size: float) -> int:
    """The nearest whole number; of two, the larger one."""
    return math.floor(size + 0.5)
