"""Tables of a report: mean ± sample std (ddof 1) with n, and paired differences, shown and as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..record import BY_DOMAIN, METRICS
from . import summary
from .collect import Collection
from .differences import Differences, difference_tables, paired_differences
from .layout import (
    MARK,
    MISSING,
    USUAL,
    ReportTable,
    axis_label,
    by_dataset,
    latex,
    markdown,
    points_told,
    show_cell,
    show_count,
    write_csv,
    write_text,
)
from .reference import reference_table

# What a curve runs along, and what stays as usual on it.
AXES = {"shots": "imbalance", "imbalance": "shots"}
CURVES = (
    ("shots", "in_domain_accuracy"),
    ("shots", "out_of_domain_accuracy"),
    ("imbalance", "in_domain_accuracy"),
    ("imbalance", "out_of_domain_accuracy"),
)


def accuracy_tables(cells: pd.DataFrame, metrics: Sequence[str] = ()) -> list[ReportTable]:
    """For each dataset a table with a row for each shots, imbalance and method, and a column for each metric.

    Args:
        cells: see summary.cells.
        metrics: keys of record.METRICS; all that apply where none are given.
    """
    headings = {name: f"{METRICS[name]}, %" for name in metrics or METRICS}
    return [_cell_table(f"{dataset}: mean ± std", frame, headings) for dataset, frame in by_dataset(cells)]


def domain_tables(cells: pd.DataFrame) -> list[ReportTable]:
    """For each dataset a table of the accuracy on each domain, in percent."""
    means = [name for name in cells.columns if name.startswith(BY_DOMAIN) and name.endswith("_mean")]
    names = [name.removesuffix("_mean") for name in means]
    headings = {name: f"{name.removeprefix(BY_DOMAIN)}, %" for name in names}
    tables = []
    for dataset, frame in by_dataset(cells):
        table = _cell_table(f"{dataset}: accuracy on each domain, mean ± std", frame, headings)
        tables += [table] if set(table.columns) & set(headings.values()) else []
    return tables


def curve_tables(cells: pd.DataFrame, along: str, metric: str) -> list[ReportTable]:
    """For each dataset a table with a row for each method and a column for each value of `along`.

    Args:
        cells: see summary.cells.
        along: "shots" (of the runs without long tail) or "imbalance" (of the runs on all shots).
        metric: key of record.METRICS.

    Returns:
        One table for each dataset that has more than one value of `along`.
    """
    tables = []
    for dataset, frame in by_dataset(cells[cells[AXES[along]] == USUAL[AXES[along]]]):
        if frame[along].nunique() > 1 and frame[f"{metric}_mean"].notna().any():
            tables.append(_curve_table(f"{dataset}: {METRICS[metric]}, %, mean ± std", frame, along, metric))
    return tables


def _curve_table(title: str, frame: pd.DataFrame, along: str, metric: str) -> ReportTable:
    values = list(dict.fromkeys(frame[along]))
    rows = []
    for method, of_method in frame.groupby("method", sort=False):
        cell_of = {row[along]: row for row in of_method.to_dict("records")}
        rows.append((str(method), *(show_cell(cell_of.get(value), metric, with_n=True) for value in values)))
    name = "shots" if along == "shots" else "ratio"
    columns = ("method", *(f"{name} {axis_label(along, value)}" for value in values))
    return ReportTable(title, columns, tuple(rows), _notes(frame, [metric], rows))


def _cell_table(title: str, frame: pd.DataFrame, headings: dict[str, str]) -> ReportTable:
    """One row per cell; metrics that no cell has are left out, and shots and imbalance where they are the usual."""
    metrics = [name for name in headings if frame[f"{name}_mean"].notna().any()]
    points = points_told(frame)
    rows = tuple(
        (
            *(axis_label(name, row[name]) for name in points),
            str(row["method"]),
            *(show_cell(row, metric) for metric in metrics),
            show_count(row),
        )
        for row in frame.to_dict("records")
    )
    columns = (*points, "method", *(headings[name] for name in metrics), "seeds")
    return ReportTable(title, columns, rows, _notes(frame, metrics, rows))


def _notes(frame: pd.DataFrame, metrics: Sequence[str], rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    seeds = int(frame["expected"].max())
    notes = [f"Mean ± sample standard deviation (ddof 1) over {seeds} seed{'s' if seeds > 1 else ''}."]
    texts = [text for row in rows for text in row]
    if any(MARK in text for text in texts):
        notes.append(f"{MARK} of fewer seeds than the {seeds} expected.")
    if MISSING in texts:
        notes.append(f"{MISSING}: no finished run.")
    return tuple(notes)


def report_tables(
    collection: Collection, differences: Differences | None = None, reference: str = ""
) -> list[ReportTable]:
    """All tables of a report.

    Args:
        collection: the runs.
        differences: to a baseline.
        reference: key of reference.REFERENCES; "" for none.

    Raises:
        InputError: an unknown reference.
    """
    frame = summary.cells(collection.records, collection.planned)
    tables = [*accuracy_tables(frame), *domain_tables(frame)]
    for along, metric in CURVES:
        tables += curve_tables(frame, along, metric)
    tables += difference_tables(differences) if differences is not None else []
    return tables + ([reference_table(frame, reference, collection.records)] if reference else [])


def write_tables(folder: Path, collection: Collection, baseline: str = "", reference: str = "") -> list[Path]:
    """Write tables.md, tables.tex, summary.csv (means, stds, n), runs.csv (one row per run) and, with a baseline,
    differences.csv into a folder; figures in the CSV files in full precision.

    Args:
        folder: made where it is not there.
        collection: the runs.
        baseline: see differences.paired_differences; "" for no differences.
        reference: key of reference.REFERENCES; "" for none.

    Raises:
        InputError: an unknown baseline or reference, or a file that cannot be written.
    """
    differences = paired_differences(collection.records, baseline) if baseline else None
    tables = report_tables(collection, differences, reference)
    refused = differences.refused if differences is not None else ()
    problems = "".join(f"- {line}\n" for line in (*collection.problems, *refused))
    paths = [
        write_text(folder / "tables.md", "\n".join(map(markdown, tables)) + (f"\n{problems}" if problems else "")),
        write_text(folder / "tables.tex", "\n".join(map(latex, tables))),
        write_csv(folder / "summary.csv", summary.cells(collection.records, collection.planned)),
        write_csv(folder / "runs.csv", summary.tidy(collection.records)),
    ]
    return paths + ([write_csv(folder / "differences.csv", differences.frame)] if differences is not None else [])
