"""A table of texts, what its cells say, and its forms: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.io.files import replaced

from .summary import shots_label, show_value

MISSING = "missing"
FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the start of a formula."""
MARK = "†"
USUAL = {"shots": ALL_SHOTS, "imbalance": 1.0}
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
LATEX |= {"|": r"\textbar{}", '"': r"\textquotedbl{}"}
LATEX |= {"±": r"$\pm$", "†": r"$\dagger$", "–": "--", "−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}"}

LATEX_NEEDS = "% Needs the packages booktabs, fontenc with the option T1 and, for wide tables, graphicx.\n"
WIDE_LATEX = 90
"""Characters in the widest row of a table from which on LaTeX scales it to the width of the text."""


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
    """A number of shots or an imbalance ratio as text."""
    return shots_label(int(value)) if along == "shots" else f"{value:g}"


def cell_label(dataset: str, shots: int, imbalance: float, method: str) -> str:
    """A cell in one line, such as "LARE on DemoWorld, shots 4, imbalance 1"."""
    return f"{method} on {dataset}, shots {axis_label('shots', shots)}, imbalance {axis_label('imbalance', imbalance)}"


def curve_cells(cells: pd.DataFrame, along: str) -> pd.DataFrame:
    """The cells on a curve along shots (those without a long tail) or imbalance (those on all images)."""
    other = "imbalance" if along == "shots" else "shots"
    return cells[cells[other] == USUAL[other]]


def points_told(frame: pd.DataFrame) -> list[str]:
    """Which of shots and imbalance a table has to tell: those that are not the usual everywhere."""
    return [name for name, usual in USUAL.items() if (frame[name] != usual).any()]


def show_cell(
    row: dict[str, Any] | None, metric: str, with_n: bool = False, show: Callable[[float, float], str] = show_value
) -> str:
    """A cell's mean ± std, marked where it is of fewer seeds than it should be; a dash where no runs are expected."""
    if row is None:
        return "–"
    if row["n"] == 0:
        return MISSING
    text, count = show(row[f"{metric}_mean"], row[f"{metric}_std"]), row[f"{metric}_n"]
    if count == 0 or count >= row["expected"]:
        return text
    # Where another column says how many seeds there are, n is told only if the metric has fewer of them.
    return f"{text} {MARK}" + (f" (n = {count})" if with_n or count < row["n"] else "")


def show_count(row: dict[str, Any]) -> str:
    """A cell's number of seeds, and of how many where some are missing."""
    return str(row["n"]) if row["n"] >= row["expected"] else f"{row['n']} of {row['expected']}"


def markdown(table: ReportTable) -> str:
    """A table as Markdown, with its title in bold above and its notes below."""
    lines = [_markdown_row(table.columns), "|" + " --- |" * len(table.columns), *map(_markdown_row, table.rows)]
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.title)}**\n\n" + "\n".join(lines) + "\n" + notes


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(map(escape_markdown, texts)) + " |"


def escape_markdown(text: str) -> str:
    """A text in one line, with the signs that Markdown reads as markup, links, pictures or HTML escaped."""
    return re.sub(r"([\\|*_<>`~!&\[\]])", r"\\\1", " ".join(text.split()))


def latex_labels(titles: Iterable[str]) -> list[str]:
    """A label for each title, such as "tab:demoworld-accuracy-on-each-domain"; no two the same."""
    uses: Counter[str] = Counter()
    labels = []
    for title in titles:
        stem = "-".join(re.findall("[a-z0-9]+", title.lower()))
        uses[stem] += 1
        labels.append(f"tab:{stem}" + (f":{uses[stem]}" if uses[stem] > 1 else ""))
    return labels


def latex(table: ReportTable, label: str) -> str:
    """A table as a LaTeX table environment, see LATEX_NEEDS; all names are escaped.

    Args:
        table: to be set.
        label: to refer to it by, of signs that LaTeX reads as themselves.
    """
    columns = "l" * _text_columns(table) + "r" * (len(table.columns) - _text_columns(table))
    wide = _row_length(table) > WIDE_LATEX
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(' '.join([table.title + '.', *table.notes]))}}}",
        rf"\label{{{label}}}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.columns),
        r"\midrule",
        *map(_latex_row, table.rows),
        *(r"\bottomrule", r"\end{tabular}" + "}" * wide, r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def _row_length(table: ReportTable) -> int:
    """Characters in a row of which each cell is as long as the longest of its column."""
    return sum(max(map(len, texts)) for texts in zip(table.columns, *table.rows, strict=True))


def _text_columns(table: ReportTable) -> int:
    """Columns up to that of the method, which are set to the left."""
    return table.columns.index("method") + 1 if "method" in table.columns else 1


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, texts)) + r" \\"


def escape_latex(text: str) -> str:
    """A text with the signs that LaTeX reads as commands, or that its text fonts lack, written out."""
    escaped = "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))
    # At the start of a row a bracket would be taken for the argument of the line break before it.
    return f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped


def write_text(path: Path, text: str) -> Path:
    """Write a text file, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, frame: pd.DataFrame) -> Path:
    """Write a frame with its figures in full precision; NaN is an empty field, and no name a spreadsheet's formula.

    Raises:
        InputError: the file cannot be written.
    """
    plain = frame.map(_no_formula).rename(columns=_no_formula)
    return write_text(path, plain.to_csv(index=False, lineterminator="\n"))


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
