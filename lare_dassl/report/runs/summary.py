"""Records as a tidy table, one row per run, and as mean ± std of the seeds, one row per cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.results.record import Record
from lare_dassl.results.run_facts import RunFacts
from lare_dassl.trainers.base.description import LAST, in_reports

from .variants import variant_labels

GROUP = ["dataset", "shots", "imbalance", "trainer", "variant"]
"""Columns that identify a cell; its runs differ in their seeds alone."""


def method_label(trainer: str, variant: str) -> str:
    """Name of a method in tables and figures, such as "LARE" or "LARE (SAMPLES_PER_IMAGE=4)"."""
    known = in_reports().get(trainer)
    label = known.label if known else trainer
    return f"{label} ({variant})" if variant else label


def shots_label(shots: int) -> str:
    """Number of shots as text, "all" for all images."""
    return "all" if shots == ALL_SHOTS else str(shots)


def shots_order(shots: int) -> float:
    """Sort key of a number of shots; all images come last."""
    return math.inf if shots == ALL_SHOTS else shots


def run_keys(records: Sequence[RunFacts], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """One row per record with the columns of GROUP and seed; `config` of a record may hold some of the keys alone.

    Args:
        records: of the runs.
        planned: see `cells`; they have no rows, but their settings count for `variant`.
    """
    variants = variant_labels([*records, *planned])[: len(records)]
    rows = [
        (record.dataset_label, record.shots, record.imbalance, record.trainer, variant, record.seed)
        for record, variant in zip(records, variants, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "seed"])


def tidy(records: Iterable[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """One row per record: GROUP and seed; metrics and accuracy on each domain in percent, NaN where they do not apply.

    `variant` names the settings in which the runs of a dataset and trainer differ, beyond shots, imbalance and seed;
    planned runs, see `cells`, count among them.
    """
    records = list(records)
    figures = pd.DataFrame([record.metrics.flat() for record in records])
    return run_keys(records, planned).join(figures.astype(float))


def summarise(records: Iterable[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof 1) and number of seeds of each cell, that is by GROUP.

    Args:
        records: of the runs.
        planned: see `cells`; their settings count for `variant`.

    Returns:
        A frame with columns n, and (metric)_mean, (metric)_std and (metric)_n of each metric and domain, in the order
        the cells first appear; std is NaN for a single seed, and (metric)_n counts the seeds that have the metric.
    """
    frame = tidy(records, planned)
    groups = frame.groupby(GROUP, sort=False)
    columns = {"n": groups["seed"].count()}
    for name in frame.columns.drop([*GROUP, "seed"]):
        values = groups[name]
        columns |= {f"{name}_mean": values.mean(), f"{name}_std": values.std(ddof=1), f"{name}_n": values.count()}
    return pd.DataFrame(columns).reset_index()


def cells(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """`summarise`, with a row for each cell that should have runs, sorted: dataset, imbalance, shots, method.

    With a plan, a cell is expected to have the seeds that are planned or run for it. Without one nothing is known to
    be missing but seeds: each cell that has runs is expected to have all seeds of its dataset, and no other cell is.

    Args:
        records: of the runs.
        planned: the runs that were planned, see collect.Collection.

    Returns:
        The columns of `summarise`, `expected` (number of seeds) and `method` (see `method_label`); n is 0 and all
        means NaN where a cell has no run.
    """
    frame = expected_cells(records, planned).merge(summarise(records, planned), on=GROUP, how="left")
    counts = [name for name in frame.columns if name == "n" or name.endswith("_n")]
    frame[counts] = frame[counts].fillna(0).astype(int)
    return frame


def expected_cells(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """The rows of `cells` with the columns of GROUP, `expected` and `method` alone."""
    keys = run_keys([*records, *planned])
    seeds = keys.groupby(GROUP, sort=False)["seed"].nunique().rename("expected").reset_index()
    if not planned:
        seeds["expected"] = seeds["dataset"].map(keys.groupby("dataset")["seed"].nunique())
    methods = [method_label(*pair) for pair in zip(seeds["trainer"], seeds["variant"], strict=True)]
    order = sorted(range(len(seeds)), key=lambda place: _order(seeds.iloc[place].to_dict()))
    return seeds.assign(method=methods).iloc[order].reset_index(drop=True)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of a cell in tables."""
    return row["dataset"], row["imbalance"], shots_order(row["shots"]), method_order(row["trainer"], row["variant"])


def method_order(trainer: str, variant: str) -> tuple[Any, ...]:
    """Sort key of a method: its place, then its name; variants by name, with numbers in them as numbers."""
    known = in_reports().get(trainer)
    place = known.place if known else LAST
    pieces = re.split(r"(\d+(?:\.\d+)?)", variant)
    return place, trainer, [float(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def show_value(mean: float, std: float, digits: int = 1) -> str:
    """A mean with its std as text, such as "65.4 ± 0.6"; a dash where there is no value."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
