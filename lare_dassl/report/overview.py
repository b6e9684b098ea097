"""Summary of the runs, lines on missing runs, and the table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lare_dassl.errors import printable
from lare_dassl.report.runs.collect import Collection, Run
from lare_dassl.report.runs.summary import method_label, method_order, shots_label, shots_order

from .runs.report_table import ReportTable, place_label

MOST_MISSING = 20
NO_PLAN = (
    "There is no plan of these runs: missing runs are found by the seeds of their dataset alone, and a cell without "
    "any run is not found."
)


def summary_text(collection: Collection) -> str:
    """Methods, datasets, settings and seeds of the runs in a few sentences."""
    keys = collection.keys
    shots = sorted(set(keys["shots"]), key=shots_order)
    ratios = [f"{ratio:g}" for ratio in sorted(set(keys["imbalance"]))]
    seeds = [str(seed) for seed in sorted(set(keys["seed"]))]
    parts = [
        f"{len(keys)} runs of {_listed(_methods(keys))} on {_listed(sorted(set(keys['dataset'])))}",
        f"{_listed([shots_label(count) for count in shots])} training images per class",
        *([f"imbalance ratio {_listed(ratios)}"] if ratios != ["1"] else []),
        f"{'seeds' if len(seeds) > 1 else 'seed'} {_listed(seeds)}",
    ]
    sentences = ["; ".join(parts), "Figures are percent, mean ± sample standard deviation over the seeds."]
    return ". ".join(sentences) + ("" if collection.planned else f" {NO_PLAN}")


def _methods(keys: pd.DataFrame) -> list[str]:
    """The methods of runs; of several variants their number."""
    variants = {str(trainer): sorted(set(own)) for trainer, own in keys.groupby("trainer")["variant"]}
    return [
        method_label(trainer, own[0]) if len(own) == 1 else f"{trainer} in {len(own)} variants"
        for trainer, own in sorted(variants.items(), key=lambda item: method_order(item[0], ""))
    ]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def missing_lines(frame: pd.DataFrame) -> list[str]:
    """A line for each cell that has fewer runs than expected, see summary.cells; of many the first alone."""
    lines = [
        f"{place_label(row.dataset, row.shots, row.imbalance)}, {row.method}: {row.n} of {row.expected} runs are there"
        for row in frame[frame["n"] < frame["expected"]].itertuples()
    ]
    more = len(lines) - MOST_MISSING
    return lines if more <= 0 else [*lines[:MOST_MISSING], f"and {more} more; the tables mark all of them"]


def runs_table(collection: Collection) -> ReportTable:
    """A row for each run: its folder, what it is of, two accuracies and its time."""
    methods = map(method_label, collection.keys["trainer"], collection.keys["variant"])
    rows = [_run_row(collection.folder, run, method) for run, method in zip(collection.runs, methods, strict=True)]
    accuracies = ("in-domain, %", "out-of-domain, %")
    columns = ("folder", "dataset", "method", "shots", "imbalance", "seed", *accuracies, "seconds")
    return ReportTable("Runs", columns, tuple(rows))


def _run_row(folder: Path, run: Run, method: str) -> tuple[str, ...]:
    record = run.record
    figures = (record.metrics.in_domain_accuracy, record.metrics.out_of_domain_accuracy, record.seconds.get("total"))
    return (
        printable(str(run.folder.relative_to(folder))),
        record.dataset_label,
        method,
        shots_label(record.shots),
        f"{record.imbalance:g}",
        str(record.seed),
        *map(_figure, figures),
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
