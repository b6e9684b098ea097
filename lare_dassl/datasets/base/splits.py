"""Which images are trained on: few-shot and long-tailed subsets, and train/val/test splits by a hash of the path."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lare_dassl.config.split_settings import ALL_SHOTS, SplitSettings
from lare_dassl.errors import InputError
from lare_dassl.host.door import Datum
from lare_dassl.io.files import composed, replaced

HASH_BITS = 53
FORMAT = "split/1"
SPLITS = ("train", "val", "test")
FILE_NAME = "split.json"
# Behind [seed, 0], so that the order of the classes has a stream of its own beside those of [seed, label].
CLASS_ORDER = 1

Item = TypeVar("Item")
"""A Datum, or what will be one."""


@dataclass(frozen=True)
class Split:
    """Keys (paths, or whatever names an image) of the three parts of a dataset; no key is in two of them."""

    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ItemSplit:
    """The images of the three parts of a dataset.

    Attributes:
        train, val, test: the images.
        skipped: by the name of a part, those that belong to it, but cannot be read.
    """

    train: list[Datum]
    val: list[Datum]
    test: list[Datum]
    skipped: Mapping[str, Sequence[Datum]] = field(default_factory=dict)

    def listed(self) -> dict[str, list[Datum]]:
        """The images by the name of their part."""
        return {name: getattr(self, name) for name in SPLITS}

    def without(self, paths: Container[Path]) -> ItemSplit:
        """The split with these images skipped."""
        parts = {name: [(item, Path(item.impath) in paths) for item in items] for name, items in self.listed().items()}
        kept = {name: [item for item, left_out in of if not left_out] for name, of in parts.items()}
        skipped = {
            name: [*self.skipped.get(name, ()), *(item for item, left_out in of if left_out)]
            for name, of in parts.items()
        }
        return ItemSplit(**kept, skipped=skipped)


def training_items(items: Sequence[Item], cfg: Any) -> list[Item]:
    """The images trained on: of all training images those that DATASET.NUM_SHOTS and DATASET.LONG_TAIL keep.

    Args:
        items: the training images; every label of 0..C-1 is expected to occur.
        cfg: the config; SEED, DATASET.NUM_SHOTS and DATASET.LONG_TAIL are read.

    Raises:
        InputError: see `training_rows` and SplitSettings.
    """
    return _chosen_items(items, SplitSettings.from_cfg(cfg), cfg.SEED)


def _chosen_items(items: Sequence[Any], settings: SplitSettings, seed: int) -> list[Any]:
    names = {item.label: item.classname for item in items}
    classnames = [names.get(label, f"with label {label}") for label in range(max(names, default=-1) + 1)]
    labels = np.array([item.label for item in items], dtype=np.int64)
    return [items[row] for row in training_rows(labels, settings, seed, classnames)]


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
    """
    if settings.min_images > largest:
        raise InputError(
            f"DATASET.LONG_TAIL.MIN_IMAGES is {settings.min_images}, but the largest class has {largest} images: "
            f"lower it to {largest} or less"
        )
    ranks = np.arange(classes)
    steps = ranks / max(classes - 1, 1) if settings.profile == "exp" else ranks >= classes - classes // 2
    # A size of 2.5 must not become 2 by the last bit of a power.
    sizes = [_rounded(round(size, 9)) for size in (largest * settings.ratio ** -steps.astype(float)).tolist()]
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


def split_items(dataset: Any, cfg: Any) -> ItemSplit:
    """The images of a dataset that a run trains on, selects by and tests on.

    Datasets of ours have applied DATASET.NUM_SHOTS and DATASET.LONG_TAIL already. To those of others both are applied
    here, but for the shots where the dataset has seen to them itself; its long tail then starts from DATASET.NUM_SHOTS,
    or from its smallest class where that has fewer.

    Args:
        dataset: with `train_x`, `val` and `test`; ours have `domain_names` too.
        cfg: the configuration that the dataset was built from.

    Raises:
        InputError: see `training_items`.
    """
    train = list(dataset.train_x)
    if not _is_ours(dataset):
        settings = SplitSettings.from_cfg(cfg)
        train = _chosen_items(train, _still_to_apply(train, settings), cfg.SEED)
    parts = {"train": train, "val": dataset.val or [], "test": dataset.test or []}
    train, val, test = ([*parts[name], *_no_files(dataset).get(name, ())] for name in SPLITS)
    return ItemSplit(train, val, test)


def check_split_applied(cfg: Any, dataset: Any) -> None:
    """Refuse settings that a dataset not of ours did not apply: a trainer that reads `train_x` itself would not either.

    Raises:
        InputError: names the dataset and the setting.
    """
    settings = SplitSettings.from_cfg(cfg)
    no_files = [item.impath for items in _no_files(dataset).values() for item in items]
    if no_files:
        raise InputError(f"{len(no_files)} images are links to nothing or no files, the first is {no_files[0]}")
    if _is_ours(dataset):
        return
    if settings.ratio != 1:
        raise InputError(
            f"{cfg.DATASET.NAME} knows no DATASET.LONG_TAIL, and {cfg.TRAINER.NAME} trains on all that it gives: "
            "leave DATASET.LONG_TAIL.RATIO at 1"
        )
    if not _shots_applied(dataset.train_x, settings.shots):
        raise InputError(
            f"{cfg.DATASET.NAME} knows no DATASET.NUM_SHOTS: it gives {len(dataset.train_x)} training images, and "
            f"{cfg.TRAINER.NAME} trains on all of them: leave DATASET.NUM_SHOTS at -1"
        )


def _no_files(dataset: Any) -> Mapping[str, Sequence[Any]]:
    """What a dataset lists that is no file, such as links to nothing, see image_items.files_alone."""
    return getattr(dataset, "no_files", {})


def _is_ours(dataset: Any) -> bool:
    return hasattr(dataset, "domain_names")


def _shots_applied(items: Iterable[Datum], shots: int) -> bool:
    """Whether no class has more than `shots` images in any domain; some datasets count shots by domain."""
    counts = Counter((item.label, item.domain) for item in items)
    return shots == ALL_SHOTS or max(counts.values(), default=0) <= shots


def _still_to_apply(items: Sequence[Datum], settings: SplitSettings) -> SplitSettings:
    if settings.shots == ALL_SHOTS or not items or not _shots_applied(items, settings.shots):
        return settings
    if settings.ratio == 1:
        return SplitSettings()
    fewest = min(Counter(item.label for item in items).values())
    return replace(settings, shots=min(settings.shots, fewest))


def write_split(folder: Path, dataset: Any, split: ItemSplit, cfg: Any) -> Path:
    """Write what a run trains on, selects by and tests on into its folder as split.json, all or nothing.

    Args:
        folder: the run's folder.
        dataset: see `split_content`.
        split: see `split_items`.
        cfg: the configuration that the dataset was built from.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE_NAME
    with replaced(path) as temporary:
        text = json.dumps(split_content(dataset, split, cfg), indent=1) + "\n"
        temporary.write_text(text, encoding="ascii", newline="\n")
    return path


def split_content(dataset: Any, split: ItemSplit, cfg: Any) -> dict[str, Any]:
    """A split in the format `split/1`: the same for every trainer and every place of the data.

    Args:
        dataset: the images of one that has `rows` (row numbers of train, val and test) are named by them, those of
            others by their paths, relative to its `root`, else DATASET.ROOT, where they are below it.
        split: the images of the dataset.
        cfg: the configuration that the dataset was built from.
    """
    settings, root = SplitSettings.from_cfg(cfg), getattr(dataset, "root", cfg.DATASET.ROOT)
    skipped = {name: image_keys(items, root) for name, items in split.skipped.items()}
    return {
        "format": FORMAT,
        "dataset": cfg.DATASET.NAME,
        "seed": cfg.SEED,
        "shots": settings.shots,
        "long_tail": {"ratio": settings.ratio, "profile": settings.profile, "min_images": settings.min_images},
        "reached_ratio": reached_ratio(split.train),
        **(getattr(dataset, "rows", None) or {name: image_keys(items, root) for name, items in split.listed().items()}),
        **({"skipped": skipped} if any(skipped.values()) else {}),
    }


def reached_ratio(items: Iterable[Datum]) -> float:
    """Size of the largest class to that of the smallest: the ratio asked for, but for rounding and a least size."""
    sizes = Counter(item.label for item in items).values()
    return max(sizes) / min(sizes)


def without_keys(split: ItemSplit, dataset: Any, cfg: Any, keys: Container[str]) -> ItemSplit:
    """A split with those images skipped that have one of these names in split.json, see `split_content`."""
    root = getattr(dataset, "root", cfg.DATASET.ROOT)
    items = [item for members in split.listed().values() for item in members]
    named = zip(items, image_keys(items, root), strict=True)
    return split.without({Path(item.impath) for item, key in named if key in keys})


def image_keys(items: Iterable[Datum], root: str | Path) -> list[str]:
    """The paths of images with forward slashes, relative to the root where they are below it, else absolute."""
    base = _absolute(str(Path(root).expanduser())) + "/"
    return [composed(_absolute(item.impath).removeprefix(base)) for item in items]


def _absolute(path: str) -> str:
    # Path.absolute keeps "..", and takes ten times as long, which hundreds of thousands of images feel.
    return os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100


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
    test_size = min(_rounded(len(keys) * test_fraction), spare)
    val_size = min(_rounded(len(keys) * val_fraction), spare - test_size)
    order = sorted(keys, key=lambda key: (stable_fraction(key), composed(key)))
    test, val = set(order[:test_size]), set(order[test_size : test_size + val_size])
    return Split(
        train=[key for key in keys if key not in test and key not in val],
        val=[key for key in keys if key in val],
        test=[key for key in keys if key in test],
    )


def split_groups(groups: Iterable[Sequence[str]], val_fraction: float, test_fraction: float) -> Split:
    """Cut each of several groups by `split_by_hash`, and put their parts together.

    Raises:
        InputError: see `check_fractions`.
    """
    check_fractions(val_fraction, test_fraction)
    parts = [split_by_hash(keys, val_fraction, test_fraction) for keys in groups]
    return Split(
        train=[key for part in parts for key in part.train],
        val=[key for part in parts for key in part.val],
        test=[key for part in parts for key in part.test],
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
