"""The forms of a table in files: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lare_dassl.io.files import replaced

from .runs.report_table import ReportTable

FORMULA = ("=", "+", "-", "@")
"""First characters of a cell that a spreadsheet would run as a formula."""
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
LATEX |= {"|": r"\textbar{}", '"': r"\textquotedbl{}"}
LATEX |= {"±": r"$\pm$", "†": r"$\dagger$", "–": "--", "−": "$-$", "<": r"\textless{}", ">": r"\textgreater{}"}
LATEX_NEEDS = "% Needs the packages booktabs, fontenc with the option T1 and, for wide tables, graphicx.\n"
WIDE_LATEX = 90
"""Characters in the widest row of a table from which on LaTeX scales it to the width of the text."""


def markdown(table: ReportTable) -> str:
    """A table as Markdown, with its title in bold above and its notes below.

    >>> print(markdown(ReportTable("Runs", ("method", "seeds"), (("LARE", "5"),))))
    **Runs**
    <BLANKLINE>
    | method | seeds |
    | --- | --- |
    | LARE | 5 |
    <BLANKLINE>
    """
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
        label: to refer to it by, of characters that LaTeX reads as themselves.
    """
    places, left = range(len(table.columns)), _text_columns(table)
    style = pd.DataFrame(list(table.rows), columns=places).style.hide(axis="index").format(escape_latex)
    text: str = style.format_index(lambda place: escape_latex(table.columns[place]), axis="columns").to_latex(
        column_format="l" * left + "r" * (len(places) - left),
        position_float="centering",
        hrules=True,
        label=label,
        caption=escape_latex(" ".join([f"{table.title}.", *table.notes])),
    )
    if _row_length(table) > WIDE_LATEX:
        text = text.replace(r"\begin{tabular}", "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}")
        text = text.replace(r"\end{tabular}", r"\end{tabular}}")
    return text


def _row_length(table: ReportTable) -> int:
    """Characters in a row of which each cell is as long as the longest of its column."""
    return sum(max(map(len, texts)) for texts in zip(table.columns, *table.rows, strict=True))


def _text_columns(table: ReportTable) -> int:
    """Number of columns up to that of the method, which are set to the left."""
    return table.columns.index("method") + 1 if "method" in table.columns else 1


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
    """Write a frame in full precision; NaN is an empty field, and no name runs as a spreadsheet's formula.

    Raises:
        InputError: the file cannot be written.
    """
    plain = frame.map(_no_formula).rename(columns=_no_formula)
    return write_text(path, plain.to_csv(index=False, lineterminator="\n"))


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
