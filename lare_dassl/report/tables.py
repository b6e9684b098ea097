"""Tables of a report: mean ± sample std (ddof 1) with n, and paired differences, shown and as files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path

import pandas as pd

from lare_dassl.errors import printable
from lare_dassl.report.runs.collect import Collection, Run
from lare_dassl.report.runs.data_notes import data_notes
from lare_dassl.report.runs.differences import difference_tables
from lare_dassl.report.runs.results import Results
from lare_dassl.report.runs.summary import method_label, tidy
from lare_dassl.results.record import ACCURACIES, BY_DOMAIN, METRICS

from .formats import LATEX_NEEDS, escape_latex, escape_markdown, latex, latex_labels, markdown, write_csv, write_text
from .runs.report_table import (
    MARK,
    MISSING,
    CellRow,
    ReportTable,
    axis_label,
    by_dataset,
    curve_cells,
    show_cell,
    show_count,
    shown_points,
)


def accuracy_tables(cells: pd.DataFrame, metrics: Sequence[str] = ()) -> list[ReportTable]:
    """For each dataset a table with a row for each shots, imbalance and method, and a column for each metric.

    Args:
        cells: see summary.cells.
        metrics: keys of record.METRICS; all that apply where none are given.
    """
    headings = {name: f"{METRICS[name]}, %" for name in metrics or METRICS}
    return [
        _cell_table(f"{dataset}: accuracy and calibration", frame, headings) for dataset, frame in by_dataset(cells)
    ]


def domain_tables(cells: pd.DataFrame) -> list[ReportTable]:
    """For each dataset a table of the accuracy on each domain, in percent."""
    means = [name for name in cells.columns if name.startswith(BY_DOMAIN) and name.endswith("_mean")]
    names = [name.removesuffix("_mean") for name in means]
    headings = {name: f"{name.removeprefix(BY_DOMAIN)}, %" for name in names}
    tables = []
    for dataset, frame in by_dataset(cells):
        table = _cell_table(f"{dataset}: accuracy on each domain", frame, headings)
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
    for dataset, frame in by_dataset(curve_cells(cells, along)):
        if frame[along].nunique() > 1 and frame[f"{metric}_mean"].notna().any():
            tables.append(_curve_table(f"{dataset}: {METRICS[metric]}, %", frame, along, metric))
    return tables


def _curve_table(title: str, frame: pd.DataFrame, along: str, metric: str) -> ReportTable:
    values = list(dict.fromkeys(frame[along]))
    rows = []
    for method, of_method in frame.groupby("method", sort=False):
        cell_of = {row[along]: row for row in of_method.to_dict("records")}
        rows.append((str(method), *(show_cell(cell_of.get(value), metric, with_n=True) for value in values)))
    name = "shots" if along == "shots" else "ratio"
    columns = ("method", *(f"{name} {axis_label(along, value)}" for value in values))
    return ReportTable(title, columns, tuple(rows), _notes(frame, rows))


def _cell_table(title: str, frame: pd.DataFrame, headings: dict[str, str]) -> ReportTable:
    """One row per cell; metrics that no cell has are left out, and shots and imbalance where they are the usual."""
    metrics = [name for name in headings if frame[f"{name}_mean"].notna().any()]
    points = shown_points(frame)
    rows = tuple(_cell_texts(row, points, metrics) for row in frame.to_dict("records"))
    columns = (*points, "method", *(headings[name] for name in metrics), "seeds")
    return ReportTable(title, columns, rows, _notes(frame, rows))


def _cell_texts(row: CellRow, points: Sequence[str], metrics: Sequence[str]) -> tuple[str, ...]:
    place = [axis_label(name, row[name]) for name in points]
    values = [show_cell(row, metric) for metric in metrics]
    return *place, str(row["method"]), *values, show_count(row["n"], row["expected"])


def _notes(frame: pd.DataFrame, rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    fewest, most = int(frame["expected"].min()), int(frame["expected"].max())
    seeds = "1 seed" if most == 1 else f"{most} seeds"
    if fewest != most:
        seeds = f"{fewest} to {most} seeds"
    notes = [f"Mean ± sample standard deviation (ddof 1) over {seeds}."]
    texts = list(chain.from_iterable(rows))
    if any(MARK in text for text in texts):
        notes.append(f"{MARK} of fewer seeds than {f'the {most} ' if fewest == most else ''}expected.")
    if MISSING in texts:
        notes.append(f"{MISSING}: no finished run.")
    return tuple(notes)


def report_tables(results: Results) -> list[ReportTable]:
    """All tables of a report."""
    tables = [*accuracy_tables(results.frame), *domain_tables(results.frame)]
    for along, metric in product(("shots", "imbalance"), ACCURACIES):
        tables += curve_tables(results.frame, along, metric)
    tables += difference_tables(results.differences) if results.differences else []
    return tables + ([results.reference] if results.reference else [])


def write_tables(folder: Path, results: Results) -> list[Path]:
    """Write tables.md, tables.tex, summary.csv (means, stds, n), runs.csv (one row per run, with its folder) and, with
    a baseline, differences.csv into a folder; figures in the CSV files in full precision.

    What was left out, what is to be known of the images, and what could not be compared is listed below the tables in
    tables.md, and in comments in tables.tex.

    Args:
        folder: made where it is not there.
        results: to be written.

    Raises:
        InputError: a file cannot be written.
    """
    tables, differences, collection = report_tables(results), results.differences, results.collection
    notes = data_notes(collection.records, collection.planned)
    problems = (*collection.problems, *notes, *(differences.refused if differences else ()))
    frames = {"summary.csv": results.frame, "runs.csv": _runs_frame(collection)}
    frames |= {"differences.csv": differences.frame} if differences else {}
    texts = {"tables.md": _markdown_file(tables, problems), "tables.tex": _latex_file(tables, problems)}
    written = [write_text(folder / name, text) for name, text in texts.items()]
    return written + [write_csv(folder / name, frame) for name, frame in frames.items()]


def _runs_frame(collection: Collection) -> pd.DataFrame:
    """A row for each run: the folder of its record.json, below that of the report, its method, figures and time."""
    frame = tidy(collection.records, collection.planned)
    frame.insert(0, "folder", [_place(collection, run) for run in collection.runs])
    frame.insert(1, "method", list(map(method_label, frame["trainer"], frame["variant"])))
    return frame.assign(seconds=[record.seconds.get("total") for record in collection.records])


def _place(collection: Collection, run: Run) -> str:
    return printable(run.folder.relative_to(collection.folder).as_posix())


def _markdown_file(tables: Sequence[ReportTable], problems: Sequence[str]) -> str:
    lines = "".join(f"- {escape_markdown(line)}\n" for line in problems)
    return "\n".join(map(markdown, tables)) + (f"\n{lines}" if lines else "")


def _latex_file(tables: Sequence[ReportTable], problems: Sequence[str]) -> str:
    lines = "".join(f"% {escape_latex(line)}\n" for line in problems)
    texts = map(latex, tables, latex_labels(table.title for table in tables))
    return f"{LATEX_NEEDS}\n" + "\n".join(texts) + (f"\n{lines}" if lines else "")
