"""One HTML file that shows the outcome of runs: it loads nothing, and may be mailed or archived as it is."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lare_dassl.errors import InputError, printable
from lare_dassl.io.files import check_path, make_folder
from lare_dassl.report.figures.drawings import Drawing, all_drawings
from lare_dassl.report.figures.style import save
from lare_dassl.report.inside.run import check_run, open_run
from lare_dassl.report.inside.view import InsideView, look_inside
from lare_dassl.report.runs.collect import Collection, collect
from lare_dassl.report.runs.compared_runs import METHOD
from lare_dassl.report.runs.data_notes import data_notes
from lare_dassl.report.runs.differences import difference_tables
from lare_dassl.report.runs.results import BASELINE, Results, results_of

from .formats import write_text
from .overview import missing_lines, runs_table, summary_text
from .runs.report_table import MISSING, ReportTable
from .settings import settings_tables
from .tables import accuracy_tables, domain_tables, write_tables

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parents[1] / "assets" / "report"
NUMBER = re.compile(r"[+−-]?\d[\d,.]*(?![\w.])|all$")


@dataclass(frozen=True)
class Options:
    """The request for a report.

    Attributes:
        folder: holds the runs.
        output: the HTML file; tables and figures go into a folder of its name beside it.
        baseline: method that the others are compared with; "" for FineTune where it has run.
        reference: key of reference.REFERENCES; "" for none.
        run: the run that is looked into; None for the LARE run on the most training images.
        classes: names of the classes to show of it; some spread evenly where there are none.
    """

    folder: Path
    output: Path
    baseline: str = ""
    reference: str = ""
    run: Path | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownFigure:
    """A figure in the page: its caption, and the drawing itself as SVG."""

    caption: str
    svg: Markup


@dataclass(frozen=True)
class Page:
    """The texts, tables and figures of the page, plain: the template escapes them.

    Attributes:
        title: of the page.
        summary: methods, datasets, settings and seeds of the runs.
        problems: records that were left out.
        data_notes: notes on the images behind the figures.
        missing: seeds that are missing.
        accuracy: a table for each dataset.
        by_domain: a table for each dataset.
        baseline: method that the others are compared with; "" for none.
        differences: a table for each dataset; none without a baseline.
        difference_notes: runs that could not be compared.
        reference: reported accuracies; None where none are asked for.
        figures: of all runs.
        figure_notes: figures that the runs do not allow.
        inside: the look inside a run of LARE, or why there is none.
        inside_figures: its figures.
        runs: a row for each run.
        differing: settings that differ.
        shared: settings that agree.
        footer: version, and where the files are.
    """

    title: str
    summary: str
    problems: Sequence[str]
    data_notes: Sequence[str]
    missing: Sequence[str]
    accuracy: Sequence[ReportTable]
    by_domain: Sequence[ReportTable]
    baseline: str
    differences: Sequence[ReportTable]
    difference_notes: Sequence[str]
    reference: ReportTable | None
    figures: Sequence[ShownFigure]
    figure_notes: Sequence[str]
    inside: InsideView | str
    inside_figures: Sequence[ShownFigure]
    runs: ReportTable
    differing: ReportTable
    shared: ReportTable
    footer: str


def write_report(options: Options) -> Path:
    """Write the page, and beside it the tables as Markdown, LaTeX and CSV and the figures as PNG and SVG.

    Runs that cannot be read are named in the page and in the log; so is why there is no look inside LARE.

    Returns:
        The HTML file.

    Raises:
        InputError: no run to report of, an unknown baseline, reference or class, a --run without regions, or a file
            that cannot be written.
    """
    for flag, path in (("FOLDER", options.folder), ("--output", options.output), ("--run", options.run)):
        check_path(str(path or ""), flag)
    if options.output.is_dir():
        raise InputError(f"--output {options.output} is a folder: give the name of a file")
    if options.output.suffix != ".html":
        raise InputError(f"--output {options.output} must end in .html")
    if options.run is not None:
        check_run(options.run)
    collection = collect(options.folder)
    for line in collection.problems:
        logger.warning("%s", line)
    return write_text(options.output, render(_make_page(options, collection)))


def _make_page(options: Options, collection: Collection) -> Page:
    results = results_of(collection, options.baseline or _default_baseline(collection), options.reference)
    inside = _inside(options, collection)
    drawings, figure_notes = all_drawings(results)
    folder = make_folder(options.output.with_suffix(""), "--output")
    write_tables(folder, results)
    differing, shared = settings_tables(collection.records)
    differences = difference_tables(results.differences) if results.differences else []
    return Page(
        title=f"Results of {printable(options.folder.resolve().name)}",
        summary=summary_text(collection),
        problems=[line.removeprefix("left out: ") for line in collection.problems],
        data_notes=data_notes(collection.records, collection.planned),
        missing=missing_lines(results.frame),
        accuracy=accuracy_tables(results.frame),
        by_domain=domain_tables(results.frame),
        baseline=results.baseline,
        differences=differences,
        difference_notes=_difference_notes(results, bool(differences)),
        reference=results.reference,
        figures=_shown(drawings, folder),
        figure_notes=figure_notes,
        inside=inside,
        inside_figures=[] if isinstance(inside, str) else _shown(inside.drawings, folder),
        runs=runs_table(collection),
        differing=differing,
        shared=shared,
        footer=f"lare_dassl {version('lare_dassl')}. The same tables and figures are in the folder "
        f"{printable(folder.name)}.",
    )


def _difference_notes(results: Results, has_tables: bool) -> Sequence[str]:
    if results.differences is None:
        return [f"There is no run of {BASELINE}; --baseline names another method to compare with."]
    if not has_tables:
        return [f"All runs are of {results.baseline}: there is no other method to compare with it."]
    return results.differences.refused


def _default_baseline(collection: Collection) -> str:
    return BASELINE if any(record.trainer == BASELINE for record in collection.records) else ""


def _inside(options: Options, collection: Collection) -> InsideView | str:
    """The look inside the chosen run, or a line that says why there is none."""
    folder = options.run or _default_run(collection)
    if folder is None:
        return f"There is no run of {METHOD} with its regions among these."
    try:
        run = open_run(folder)
    except InputError as error:
        logger.warning("no look inside %s: %s", folder, error)
        return printable(f"The run in {folder} cannot be looked into: {error}")
    name = folder.relative_to(options.folder) if folder.is_relative_to(options.folder) else folder
    return look_inside(run, printable(str(name)), options.classes)


def _default_run(collection: Collection) -> Path | None:
    """The first of the LARE runs on the most training images: it has the most regions to look at."""
    runs = [run for run in collection.runs if run.record.trainer == METHOD]
    for run in sorted(runs, key=lambda run: run.record.samples.get("train", 0), reverse=True):
        try:
            check_run(run.folder)
        except InputError:
            continue
        return run.folder
    return None


def _shown(drawings: Sequence[Drawing], folder: Path) -> list[ShownFigure]:
    """Write drawings into a folder, and give them for the page."""
    shown = []
    for drawing in drawings:
        _, path = save(drawing.figure, folder / drawing.stem)
        svg = inline_svg(path.read_text(encoding="utf-8"), drawing.stem, drawing.alt)
        shown.append(ShownFigure(drawing.caption, svg))
    return shown


def inline_svg(text: str, name: str, alt: str) -> Markup:
    """An SVG file as an element of a page.

    Args:
        text: of the file, as matplotlib writes it.
        name: goes before the ids in it, which have to be unique in the page.
        alt: text for those who do not see it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    opening, rest = text.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    return Markup('{} role="img" aria-label="{}">{}').format(Markup(opening), alt, Markup(rest))


def render(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"numeric_columns": numeric_columns, "key_column": key_column}
    numbers = count(1)
    environment.globals["next_id"] = lambda: f"table-{next(numbers)}"
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        page=page,
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )


def key_column(table: ReportTable) -> int:
    """Number of the column that identifies a row: that of the method, or the first."""
    return table.columns.index("method") if "method" in table.columns else 0


def numeric_columns(table: ReportTable) -> list[bool]:
    """For each column of a table, whether it holds numbers and nothing else, but for cells without a value."""
    return [_is_numeric(texts) for texts in zip(*table.rows, strict=True)] or [False] * len(table.columns)


def _is_numeric(texts: Iterable[str]) -> bool:
    values = set(texts) - {"", "–", MISSING}
    return bool(values) and all(NUMBER.match(text) for text in values)
