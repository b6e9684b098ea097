"""ReportTable, a table of texts, and the texts of its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lare_dassl.config.split_settings import ALL_SHOTS

from .summary import shots_label, show_value

MISSING = "missing"
MARK = "†"
USUAL = {"shots": ALL_SHOTS, "imbalance": 1.0}

CellRow = dict[str, Any]
"""A row of summary.cells by its columns."""


@dataclass(frozen=True)
class ReportTable:
    """A table to be shown.

    Attributes:
        title: one line above it.
        columns: headings.
        rows: one text for each column.
        notes: lines below it, such as what a mark means.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def by_dataset(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each dataset, in the order of the frame."""
    for dataset, rows in frame.groupby("dataset", sort=False):
        yield str(dataset), rows


def axis_label(along: str, value: float) -> str:
    """A number of shots or an imbalance ratio as text.

    >>> axis_label("shots", -1), axis_label("imbalance", 10.0)
    ('all', '10')
    """
    return shots_label(int(value)) if along == "shots" else f"{value:g}"


def place_label(dataset: str, shots: int, imbalance: float) -> str:
    """Dataset, shots and imbalance of a cell, such as "DemoWorld, shots 4, imbalance 1"."""
    return f"{dataset}, shots {axis_label('shots', shots)}, imbalance {axis_label('imbalance', imbalance)}"


def cell_label(dataset: str, shots: int, imbalance: float, method: str) -> str:
    """A cell in one line, such as "LARE on DemoWorld, shots 4, imbalance 1"."""
    return f"{method} on {place_label(dataset, shots, imbalance)}"


def curve_cells(cells: pd.DataFrame, along: str) -> pd.DataFrame:
    """The cells on a curve along shots (those without a long tail) or imbalance (those on all images)."""
    other = "imbalance" if along == "shots" else "shots"
    return cells[cells[other] == USUAL[other]]


def shown_points(frame: pd.DataFrame) -> list[str]:
    """The columns, of shots and imbalance, that a table needs: those that are not the usual everywhere."""
    return [name for name, usual in USUAL.items() if (frame[name] != usual).any()]


def show_cell(
    row: CellRow | None, metric: str, with_n: bool = False, show: Callable[[float, float], str] = show_value
) -> str:
    """A cell's mean ± std, marked where it is of fewer seeds than it should be; a dash where no runs are expected."""
    if row is None:
        return "–"
    if row["n"] == 0:
        return MISSING
    text, count = show(row[f"{metric}_mean"], row[f"{metric}_std"]), row[f"{metric}_n"]
    if count == 0 or count >= row["expected"]:
        return text
    # Where another column says how many seeds there are, n is shown only if the metric has fewer of them.
    return f"{text} {MARK}" + (f" (n = {count})" if with_n or count < row["n"] else "")


def show_count(count: int, expected: int) -> str:
    """A number of seeds, and of how many where some are missing."""
    return str(count) if count >= expected else f"{count} of {expected}"
