"""Cells of a benchmark: the folder of runs that differ in their seeds alone, named by a hash of their settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lare_dassl.config.keys import FILE_KEYS, cell_settings, leaf_keys
from lare_dassl.datasets.base.image_tree import images_in
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.report.runs.summary import shots_label
from lare_dassl.results.run_facts import GENERIC_DATASETS, dataset_label

SHOTS, RATIO, PROFILE = "DATASET.NUM_SHOTS", "DATASET.LONG_TAIL.RATIO", "DATASET.LONG_TAIL.PROFILE"
NAMED_FIRST = (SHOTS, RATIO, PROFILE)
DIGEST_LENGTH = 10
NAME_LENGTH = 80


def cell_folder(output_dir: Path, plain: Mapping[str, Any], varied: Iterable[str]) -> Path:
    """The folder of the runs that differ in their seeds alone, such as out/DemoWorld/LARE/shots_4-ALPHA_0.5-0f3a….

    Args:
        output_dir: of the benchmark.
        plain: the whole configuration of one of them.
        varied: the keys that the benchmark varies; their values are part of the name of a folder that is new.
    """
    dataset, tail = plain["DATASET"], plain["DATASET"]["LONG_TAIL"]
    words = [f"shots_{shots_label(dataset['NUM_SHOTS'])}"]
    words += [f"ratio_{tail['RATIO']:g}_{tail['PROFILE']}"] if tail["RATIO"] != 1 else []
    deciding = cell_settings(plain)
    words += [
        f"{key.rpartition('.')[2]}_{deciding[key]}" for key in varied if key in deciding and key not in NAMED_FIRST
    ]
    folder = (
        output_dir / _safe(dataset_label(dataset["NAME"], dict(leaf_keys(plain)))) / _safe(plain["TRAINER"]["NAME"])
    )
    digest = settings_digest(plain)
    # The same settings may have been given in other words.
    there = sorted(folder.glob(f"*-{digest}"))
    return there[0] if there else folder / f"{_safe('-'.join(words))[:NAME_LENGTH]}-{digest}"


def _safe(name: str) -> str:
    """A name with nothing in it that some file system does not take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "_"


def settings_digest(plain: Mapping[str, Any]) -> str:
    """A hash of all settings that decide the outcome, but for the seed; of files that they name the content counts.

    Of a dataset that is any folder of images their names and sizes count, wherever it is; other datasets are known.
    """
    settings = cell_settings(plain) | {key: _content_hash(path) for key, path in _named_files(plain).items()}
    root = Path(plain["DATASET"]["ROOT"]).expanduser()
    if plain["DATASET"]["NAME"] in GENERIC_DATASETS and root.is_dir():
        folder = root / plain["DATASET"]["FOLDER"]
        settings["DATASET.ROOT"] = _listing_hash(folder if folder.is_dir() else root)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


def _named_files(plain: Mapping[str, Any]) -> dict[str, Path]:
    """The files that settings name, by their keys."""
    values = dict(leaf_keys(plain))
    paths = {key: Path(values[key]).expanduser() for key in FILE_KEYS if values[key]}
    return {key: path for key, path in paths.items() if path.is_file()}


def _content_hash(path: Path) -> str:
    return _hash_in_state(path, path.stat().st_mtime_ns)


@cache
def _hash_in_state(path: Path, mtime_ns: int) -> str:
    """The hash of a file, read once for all cells; `mtime_ns` only tells its states apart."""
    return file_sha256(path)


@cache
def _listing_hash(folder: Path) -> str:
    """The hash of the names and sizes of all images below a folder, which is searched once for all cells of a plan."""
    names = images_in(folder)
    sizes = [(folder / name).stat().st_size if (folder / name).is_file() else None for name in names]
    return hashlib.sha256(json.dumps([names, sizes]).encode("utf-8", "surrogatepass")).hexdigest()


def forget_listings() -> None:
    """Search the folders of images anew: a new plan may find other images there."""
    _listing_hash.cache_clear()


def settings_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first difference of two configurations, such as "SEED is 1 there and 0 here"; "" where nothing does.

    Where files are is no difference: their content is in the name of the folder.
    """
    both = [cell_settings(plain) | {"SEED": str(plain.get("SEED"))} for plain in (there, here)]
    files = _named_files(here)
    keys = [key for key in both[1] | both[0] if key not in files and both[0].get(key) != both[1].get(key)]
    if not keys:
        return ""
    values = [settings.get(keys[0], "not set") for settings in both]
    return f"{keys[0]} is {values[0]} there and {values[1]} here"
