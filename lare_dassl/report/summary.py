"""Records as a tidy table, one row per run, and as mean ± std of the seeds, one row per cell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import leaf_keys
from ..record import BY_DOMAIN, METRICS
from ..split_settings import ALL_SHOTS

GROUP = ["dataset", "shots", "imbalance", "trainer", "variant"]
"""What the runs of a cell have in common; they differ in their seeds alone."""
METHODS = (
    *("ZeroShot", "FineTune", "LADS", "LARE", "ContextOptimisation", "CLIPAdapter", "TipAdapter", "TipAdapterF"),
    *("CrossModal", "GaussianNoise", "TextInterpolation", "RegionCentre", "CoOp"),
)
"""The methods in the order of tables and legends; others follow by name."""

# Registered names that stand for many datasets: those are told apart by their origin or root.
GENERIC_DATASETS = ("DomainFolders", "EmbeddingFile")
# Settings that have a column of their own, or that change nothing of what is learned and measured.
UNTOLD_KEYS = {"DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.LONG_TAIL.RATIO", "SEED", "TRAINER.NAME"}
UNTOLD_KEYS |= {"OUTPUT_DIR", "RESUME", "USE_CUDA", "VERBOSE", "VERSION", "DATALOADER.NUM_WORKERS"}
UNTOLD_KEYS |= {"DATASET.ROOT", "DATASET.ORIGIN", "DATASET.FOLDER", "EMBEDDINGS.CACHE_DIR", "EMBEDDINGS.BATCH_SIZE"}
UNTOLD_KEYS |= {"TEST.EVALUATOR", "TEST.PER_CLASS_RESULT", "TEST.COMPUTE_CMAT", "TEST.NO_TEST"}
UNTOLD_SECTIONS = ("TRAIN.", "DATALOADER.TEST.")


def dataset_label(record: dict[str, Any]) -> str:
    """The dataset's name; of a generic one its origin, or the name of its root folder or file."""
    config = record["config"].get("DATASET", {})
    if record["dataset"] not in GENERIC_DATASETS:
        return str(record["dataset"])
    return str(config.get("ORIGIN") or Path(config.get("ROOT", "")).stem or record["dataset"])


def told_settings(record: dict[str, Any]) -> dict[str, str]:
    """The settings by which a run may differ from others of its dataset and trainer, as texts by their keys."""
    settings = {
        key: str(value)
        for key, value in leaf_keys(record["config"])
        if key not in UNTOLD_KEYS and not key.startswith(UNTOLD_SECTIONS)
    }
    weights = (record.get("vlm") or {}).get("weights_sha256")
    return settings | ({"weights": weights[:8]} if weights else {})


def variant_settings(records: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """For each record the settings in which the records of its dataset and trainer differ, as texts by their keys."""
    settings = [told_settings(record) for record in records]
    groups = [(dataset_label(record), record["trainer"]) for record in records]
    values: dict[Any, set[str]] = defaultdict(set)
    for group, told in zip(groups, settings, strict=True):
        for key, value in told.items():
            values[group, key].add(value)
    return [
        {key: value for key, value in told.items() if len(values[group, key]) > 1}
        for group, told in zip(groups, settings, strict=True)
    ]


def variant_label(settings: dict[str, str]) -> str:
    """The settings of a variant as text, such as "TRAINER.LARE.SAMPLES_PER_IMAGE=4"; "" where there are none."""
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def method_label(trainer: str, variant: str) -> str:
    """How tables and figures call a method, such as "LARE" or "LARE (TRAINER.LARE.SAMPLES_PER_IMAGE=4)"."""
    return f"{trainer} ({variant})" if variant else trainer


def shots_label(shots: int) -> str:
    """Number of shots as text, "all" for all images."""
    return "all" if shots == ALL_SHOTS else str(shots)


def run_keys(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per record with the columns of GROUP and seed; `config` of a record may hold some of the keys alone."""
    own = ["shots", "imbalance", "trainer", "seed"]
    rows = [
        {"dataset": dataset_label(record), "variant": variant_label(variant)} | {name: record[name] for name in own}
        for record, variant in zip(records, variant_settings(records), strict=True)
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "seed"])


def tidy(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per record: GROUP and seed; metrics and accuracy on each domain in percent, NaN where they do not apply.

    `variant` names the settings in which the runs of a dataset and trainer differ, beyond shots, imbalance and seed.
    """
    records = list(records)
    return run_keys(records).join(_figures(records))


def _figures(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    rows = [
        {name: record["metrics"].get(name) for name in METRICS}
        | {f"{BY_DOMAIN}{name}": value for name, value in (record["metrics"].get("domain_accuracy") or {}).items()}
        for record in records
    ]
    return pd.DataFrame(rows).astype(float)


def summarise(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof 1) and number of seeds of each cell, that is by GROUP.

    Returns:
        A frame with columns n, and (metric)_mean, (metric)_std and (metric)_n of each metric and domain, in the order
        the cells first appear; std is NaN for a single seed, and (metric)_n counts the seeds that have the metric.
    """
    return _summarise(tidy(records))


def _summarise(frame: pd.DataFrame) -> pd.DataFrame:
    groups = frame.groupby(GROUP, sort=False)
    columns = {"n": groups["seed"].count()}
    for name in frame.columns.drop([*GROUP, "seed"]):
        values = groups[name]
        columns |= {f"{name}_mean": values.mean(), f"{name}_std": values.std(ddof=1), f"{name}_n": values.count()}
    return pd.DataFrame(columns).reset_index()


def cells(records: Sequence[dict[str, Any]], planned: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    """`summarise`, with a row for each cell that should have runs, sorted: dataset, imbalance, shots, method.

    The expected seeds of a cell are all that its dataset has anywhere, in runs or in the plan. Without a plan, every
    method of a dataset is expected at every pair of shots and imbalance of the dataset.

    Args:
        records: of the runs.
        planned: record-like dictionaries of the runs that were planned, see collect.Collection.

    Returns:
        The columns of `summarise`, `expected` (number of seeds) and `method` (see `method_label`); n is 0 and all
        means NaN where a cell has no run.
    """
    keys = run_keys([*records, *planned])
    found = _summarise(keys.iloc[: len(records)].join(_figures(records)))
    frame = _expected_cells(keys, complete=not planned).merge(found, on=GROUP, how="left")
    counts = [name for name in frame.columns if name == "n" or name.endswith("_n")]
    frame[counts] = frame[counts].fillna(0).astype(int)
    return sort_cells(frame)


def _expected_cells(keys: pd.DataFrame, complete: bool) -> pd.DataFrame:
    """The cells of some runs with their number of expected seeds, those in between too where asked to be complete."""
    frame = keys[GROUP].drop_duplicates()
    if complete:
        points = keys[["dataset", "shots", "imbalance"]].drop_duplicates()
        frame = points.merge(keys[["dataset", "trainer", "variant"]].drop_duplicates(), on="dataset")
    seeds = keys.groupby("dataset")["seed"].nunique()
    return frame[GROUP].assign(expected=frame["dataset"].map(seeds))


def sort_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame with the columns of GROUP in the order of tables, with the column `method`."""
    methods = [method_label(*pair) for pair in zip(frame["trainer"], frame["variant"], strict=True)]
    order = sorted(range(len(frame)), key=lambda place: _order(frame.iloc[place].to_dict()))
    return frame.assign(method=methods).iloc[order].reset_index(drop=True)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    shots = float("inf") if row["shots"] == ALL_SHOTS else row["shots"]
    return row["dataset"], row["imbalance"], shots, method_order(row["trainer"], row["variant"])


def method_order(trainer: str, variant: str) -> tuple[Any, ...]:
    """What to sort methods by: METHODS, then names; variants by name, with numbers in them as numbers."""
    place = METHODS.index(trainer) if trainer in METHODS else len(METHODS)
    pieces = re.split(r"(\d+(?:\.\d+)?)", variant)
    return place, trainer, [float(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def show_value(mean: float, std: float, digits: int = 1) -> str:
    """A mean with its std as text, such as "65.4 ± 0.6"; a dash where there is no value."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
