"""Paired differences of methods to a baseline over the same seeds and splits, with 95 % intervals by Student's t."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import t as student

from ..errors import InputError, unknown_name
from ..record import METRICS
from .layout import ReportTable, axis_label, by_dataset, points_told, show_count
from .summary import GROUP, dataset_label, method_label, run_keys, sort_cells, variant_label, variant_settings

LEVEL = 0.95
ROWS = ["run", "metric", "difference"]


@dataclass(frozen=True)
class Differences:
    """Paired differences to a baseline.

    Attributes:
        baseline: the method, as summary.method_label names it, or its trainer.
        frame: columns of summary.GROUP, method, metric (key of record.METRICS), n (pairs), expected (seeds that the
            dataset has anywhere), mean, std, low, high, in percentage points; std, low and high are NaN for a single
            pair.
        refused: one line for each pair that could not be made, and why.
    """

    baseline: str
    frame: pd.DataFrame
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A run with all that pairing asks of it."""

    record: dict[str, Any]
    settings: dict[str, str]

    @property
    def method(self) -> str:
        return method_label(self.record["trainer"], variant_label(self.settings))

    @property
    def place(self) -> tuple[Any, ...]:
        """What the two runs of a pair have in common."""
        return dataset_label(self.record), *(self.record[name] for name in ("shots", "imbalance", "seed"))

    def is_of(self, baseline: str) -> bool:
        return baseline in (self.method, self.record["trainer"])

    def agrees(self, other: _Candidate) -> bool:
        """Whether settings that both tell are the same."""
        return all(other.settings.get(key, value) == value for key, value in self.settings.items())

    def __str__(self) -> str:
        dataset, shots, imbalance, seed = self.place
        return f"{self.method} on {dataset}, shots {axis_label('shots', shots)}, imbalance {imbalance:g}, seed {seed}"


def paired_differences(
    records: Sequence[dict[str, Any]],
    baseline: str,
    metrics: Sequence[str] = ("in_domain_accuracy", "out_of_domain_accuracy"),
) -> Differences:
    """Method minus baseline, run by run of the same dataset, shots, imbalance, seed and split.

    Args:
        records: of runs; a pair whose `split_sha256` differ is refused.
        baseline: a trainer, or a method as summary.method_label names it. A trainer stands for its run whose settings
            agree with those of the run that it is compared with.
        metrics: keys of record.METRICS.

    Raises:
        InputError: no run is of the baseline (names the nearest).
    """
    runs = [_Candidate(*pair) for pair in zip(records, variant_settings(records), strict=True)]
    partners = _baseline_runs(runs, baseline)
    rows, refused = [], []
    for index, run in enumerate(runs):
        if run.is_of(baseline):
            continue
        try:
            partner = _partner(run, partners.get(run.place, []), baseline)
            rows += [{"run": index} | values for values in _subtract(run, partner, metrics)]
        except InputError as error:
            refused.append(str(error))
    return Differences(baseline, _summarise(run_keys(records), pd.DataFrame(rows, columns=ROWS)), tuple(refused))


def _baseline_runs(runs: Sequence[_Candidate], baseline: str) -> dict[tuple[Any, ...], list[_Candidate]]:
    """The runs of a baseline by what the other run of a pair must share.

    Raises:
        InputError: there is none.
    """
    chosen = [run for run in runs if run.is_of(baseline)]
    if not chosen:
        raise unknown_name("baseline", baseline, {run.method for run in runs} | {run.record["trainer"] for run in runs})
    by_place = defaultdict(list)
    for run in chosen:
        by_place[run.place].append(run)
    return by_place


def _partner(run: _Candidate, candidates: Sequence[_Candidate], baseline: str) -> _Candidate:
    """The baseline's run to compare a run with.

    Raises:
        InputError: there is none, or more than one, or it is of another split.
    """
    # A baseline that is named with its settings is one run whatever those of the other are.
    exact = [other for other in candidates if other.method == baseline]
    agreeing = exact or [other for other in candidates if other.agrees(run)]
    if len(agreeing) != 1:
        count = "no run" if not agreeing else f"{len(agreeing)} runs"
        raise InputError(f"{run}: {count} of {baseline} to compare it with")
    splits = [other.record.get("split_sha256") for other in (run, agreeing[0])]
    if None not in splits and splits[0] != splits[1]:
        raise InputError(f"{run}: its split is not that of {agreeing[0].method}")
    return agreeing[0]


def _subtract(run: _Candidate, partner: _Candidate, metrics: Sequence[str]) -> list[dict[str, Any]]:
    pairs = {name: (run.record["metrics"].get(name), partner.record["metrics"].get(name)) for name in metrics}
    return [
        {"metric": name, "difference": own - other}
        for name, (own, other) in pairs.items()
        if own is not None and other is not None
    ]


def _summarise(keys: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    frame = differences.join(keys, on="run")
    groups = frame.groupby([*GROUP, "metric"], sort=False)["difference"]
    summary = groups.agg(n="count", mean="mean", std="std").reset_index()
    summary["expected"] = summary["dataset"].map(keys.groupby("dataset")["seed"].nunique())
    half = [half_width(std, n) for std, n in zip(summary["std"], summary["n"], strict=True)]
    summary["low"], summary["high"] = summary["mean"] - half, summary["mean"] + half
    return sort_cells(summary)


def half_width(std: float, n: int, level: float = LEVEL) -> float:
    """Half the width of the interval of a mean by Student's t: t(n − 1) · std / √n; NaN for a single value.

    Args:
        std: sample standard deviation (ddof 1).
        n: number of values.
        level: coverage.
    """
    return float(student.ppf(0.5 + level / 2, n - 1)) * std / math.sqrt(n) if n > 1 else math.nan


def difference_tables(differences: Differences) -> list[ReportTable]:
    """For each dataset a table: shots, imbalance, method, difference of each metric with its interval, and pairs."""
    return [
        _difference_table(f"{dataset}: difference to {differences.baseline}, percentage points", frame, differences)
        for dataset, frame in by_dataset(differences.frame)
    ]


def _difference_table(title: str, frame: pd.DataFrame, differences: Differences) -> ReportTable:
    points, metrics = points_told(frame), list(dict.fromkeys(frame["metric"]))
    rows = []
    for _, cell in frame.groupby(GROUP, sort=False):
        first, of_metric = cell.iloc[0], {row["metric"]: row for row in cell.to_dict("records")}
        place = (*(axis_label(name, first[name]) for name in points), str(first["method"]))
        count = show_count({"n": cell["n"].min(), "expected": first["expected"]})
        rows.append((*place, *(_show(of_metric.get(name)) for name in metrics), count))
    interval = f"{100 * LEVEL:g} % interval by Student's t"
    notes = [f"Mean of paired differences over the same seeds and splits [{interval}]."]
    if differences.refused:
        notes.append(f"{len(differences.refused)} of all runs could not be compared.")
    columns = (*points, "method", *(METRICS[name] for name in metrics), "pairs")
    return ReportTable(title, columns, tuple(rows), tuple(notes))


def _show(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    interval = "" if math.isnan(row["low"]) else f" [{signed(row['low'])}, {signed(row['high'])}]"
    return signed(row["mean"]) + interval


def signed(value: float) -> str:
    """A difference to a tenth with its sign, such as "+1.2" and "−0.4"; 0.0 has none."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
