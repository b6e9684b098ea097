"""Paired differences of methods to a baseline over the same seeds and splits, with 95 % intervals by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from lare_dassl.report.runs.report_table import (
    MARK,
    MISSING,
    ReportTable,
    axis_label,
    by_dataset,
    cell_label,
    show_count,
    shown_points,
)
from lare_dassl.results.record import ACCURACIES, METRICS, Record
from lare_dassl.results.run_facts import RunFacts

from .pairing import Pair, pair_runs
from .summary import GROUP, expected_cells, run_keys

LEVEL = 0.95
SAME = 1e-9
"""A standard deviation in percentage points below which all differences are the same figure."""


@dataclass(frozen=True)
class Differences:
    """Paired differences to a baseline.

    Attributes:
        baseline: the method, as summary.method_label names it, or its trainer.
        frame: a row for each cell of summary.cells that is not the baseline's, and each metric that its dataset has:
            columns of summary.GROUP, method, metric (key of record.METRICS), n (pairs), expected (seeds), mean, std,
            low, high, in percentage points; std, low and high are NaN for a single pair, and all four without any.
        refused: one line for each run that has no pair, and each cell that has no run, and why.
        pairs: of the runs.
    """

    baseline: str
    frame: pd.DataFrame
    refused: tuple[str, ...]
    pairs: tuple[Pair, ...]


def paired_differences(
    records: Sequence[Record],
    baseline: str,
    metrics: Sequence[str] = ACCURACIES,
    planned: Sequence[RunFacts] = (),
) -> Differences:
    """Method minus baseline, run by run; see `pairing.pair_runs` for which runs are compared.

    Args:
        records: of runs.
        baseline: a trainer, or a method as summary.method_label names it.
        metrics: keys of record.METRICS.
        planned: see summary.cells.

    Raises:
        InputError: no run is of the baseline (names the nearest).
    """
    pairs, refused = pair_runs(records, baseline, planned)
    cells = expected_cells(records, planned)
    cells = cells[(cells["trainer"] != baseline) & (cells["method"] != baseline)]
    keys = run_keys(records, planned)
    frame = _summarise(cells.merge(_applying(records, metrics), on="dataset"), _subtract(pairs, keys, metrics))
    return Differences(baseline, frame, (*refused, *_unfinished(cells, keys)), tuple(pairs))


def _applying(records: Sequence[Record], metrics: Sequence[str]) -> pd.DataFrame:
    """The metrics that some run of a dataset has: columns dataset, metric."""
    having = [
        (record.dataset_label, metric)
        for metric, record in product(metrics, records)
        if record.metrics.flat()[metric] is not None
    ]
    return pd.DataFrame(list(dict.fromkeys(having)), columns=["dataset", "metric"], dtype=object)


def _subtract(pairs: Sequence[Pair], keys: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """A row for each pair and metric that both have: columns of summary.GROUP, metric, difference."""
    rows = []
    for pair, metric in product(pairs, metrics):
        own, other = (run.record.metrics.flat()[metric] for run in (pair.run, pair.partner))
        if own is not None and other is not None:
            rows.append((pair.run.number, metric, own - other))
    numbers, names, differences = zip(*rows, strict=True) if rows else ((), (), ())
    return keys[GROUP].iloc[list(numbers)].assign(metric=list(names), difference=np.array(differences, dtype=float))


def _summarise(cells: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    groups = differences.groupby([*GROUP, "metric"], sort=False)["difference"]
    found = groups.agg(n="count", mean="mean", std="std").reset_index()
    summary = cells.merge(found.astype({"metric": object}), on=[*GROUP, "metric"], how="left")
    summary["n"] = summary["n"].fillna(0).astype(int)
    half = [half_width(std, n) for std, n in zip(summary["std"], summary["n"], strict=True)]
    summary["low"], summary["high"] = summary["mean"] - half, summary["mean"] + half
    return summary


def half_width(std: float, n: int, level: float = LEVEL) -> float:
    """Half the width of the interval of a mean by Student's t: t(n − 1) · std / √n; NaN for a single value.

    Args:
        std: sample standard deviation (ddof 1).
        n: number of values.
        level: coverage.
    """
    return float(student.ppf(0.5 + level / 2, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan


def _unfinished(cells: pd.DataFrame, keys: pd.DataFrame) -> list[str]:
    there = set(keys[GROUP].itertuples(index=False, name=None))
    lacking = [key not in there for key in cells[GROUP].itertuples(index=False, name=None)]
    labels = cells.loc[lacking, ["dataset", "shots", "imbalance", "method"]].itertuples(index=False, name=None)
    return [f"{cell_label(*label)}: no finished run" for label in labels]


def difference_tables(differences: Differences) -> list[ReportTable]:
    """For each dataset a table: shots, imbalance, method, difference of each metric with its interval, and pairs."""
    return [
        _difference_table(f"{dataset}: difference to {differences.baseline}, percentage points", frame)
        for dataset, frame in by_dataset(differences.frame)
    ]


def _difference_table(title: str, frame: pd.DataFrame) -> ReportTable:
    points, metrics = shown_points(frame), list(dict.fromkeys(frame["metric"]))
    rows = []
    for _, cell in frame.groupby(GROUP, sort=False):
        first, most = cell.iloc[0], int(cell["n"].max())
        place = (*(axis_label(name, first[name]) for name in points), str(first["method"]))
        count = show_count(most, first["expected"])
        values = [_show(row, most) for row in cell.to_dict("records")]
        rows.append((*place, *values, count if most >= first["expected"] else f"{count} {MARK}"))
    columns = (*points, "method", *(METRICS[name] for name in metrics), "pairs")
    return ReportTable(title, columns, tuple(rows), tuple(_notes(frame, rows)))


def _show(row: dict[str, Any], most: int) -> str:
    if row["n"] == 0:
        return "–" if most else MISSING
    interval = "" if math.isnan(row["low"]) else f" [{signed(row['low'])}, {signed(row['high'])}]"
    return signed(row["mean"]) + interval + (f" (n = {row['n']})" if row["n"] < most else "")


def _notes(frame: pd.DataFrame, rows: Sequence[tuple[str, ...]]) -> list[str]:
    interval = f"{100 * LEVEL:g} % interval by Student's t"
    notes = [f"Mean of paired differences over the same seeds and splits [{interval}]."]
    notes.append("Computed from unrounded values: a difference may be 0.1 off that of the rounded means.")
    if any(MARK in row[-1] for row in rows):
        notes.append(f"{MARK} fewer pairs than expected: a run is not there, or cannot be compared.")
    if any(MISSING in row for row in rows):
        notes.append(f"{MISSING}: no pair.")
    if (frame["std"] < SAME).any():
        notes.append(
            "An interval of zero width: the difference is the same figure for every seed, as it is between methods "
            "that do not depend on the seed."
        )
    return notes


def signed(value: float) -> str:
    """A difference to a tenth with its sign, such as "+1.2" and "−0.4"; 0.0 has none."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
