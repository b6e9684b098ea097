"""The figures of a report, each with its caption and an alternative text for screen readers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lare_dassl.errors import InputError
from lare_dassl.report.runs.collect import Collection, read_predictions
from lare_dassl.report.runs.compared_runs import (
    METHOD,
    ComparedRuns,
    compared_runs,
    first_run,
    images_label,
    setting_label,
)
from lare_dassl.report.runs.report_table import curve_cells
from lare_dassl.report.runs.results import Results
from lare_dassl.results.predictions import Predictions
from lare_dassl.results.record import ACCURACIES, METRICS

from .curves import few_shot_curves, imbalance_curves
from .predictions import FEW_PERCENT, FEW_ROWS, class_gain, reliability_diagram
from .scatter import domain_scatter

# What accuracies are drawn against.
CURVES = {
    "shots": ("the number of training images per class", few_shot_curves),
    "imbalance": ("the ratio of the largest class to the smallest", imbalance_curves),
}
STEM_LENGTH = 60
DIGEST_LENGTH = 8


@dataclass(frozen=True)
class Drawing:
    """A figure with its texts.

    Attributes:
        stem: of the names of its files.
        caption: text below the figure.
        alt: alternative text for screen readers.
        figure: the matplotlib figure.
    """

    stem: str
    caption: str
    alt: str
    figure: Figure


def all_drawings(results: Results) -> tuple[list[Drawing], list[str]]:
    """The figures that the runs allow, and a line for each of the others that says why it is not there."""
    drawings, missing = [], []
    by_dataset = {str(dataset): cells for dataset, cells in results.frame.groupby("dataset", sort=False)}
    stems = file_stems(by_dataset)
    for dataset, cells in by_dataset.items():
        for title, make in _makers(dataset, stems[dataset], cells, results).items():
            try:
                drawings.append(make())
            except InputError as error:
                missing.append(f"{dataset}, {title}: not drawn, as {error}")
    return drawings, missing


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """For each name one for files, of small letters, digits, - and _ alone, no two the same.

    A name ends in a hash where more than its capitals change, or where two names differ in their capitals alone.
    """
    stems = {name: re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:STEM_LENGTH] for name in names}
    uses = Counter(stems.values())
    for name, stem in stems.items():
        if stem != name.lower() or uses[stem] > 1:
            digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_LENGTH]
            stems[name] = f"{stem}-{digest}".strip("-")
    return stems


def _makers(dataset: str, stem: str, cells: pd.DataFrame, results: Results) -> dict[str, Callable[[], Drawing]]:
    makers: dict[str, Callable[[], Drawing]] = {}
    for along in CURVES:
        for metric in ACCURACIES:
            makers[f"{METRICS[metric]} against {along}"] = partial(_curves, dataset, stem, cells, along, metric)
    makers["in-domain against out-of-domain accuracy"] = partial(_scatter, dataset, stem, cells)
    if results.baseline != METHOD:
        makers["gain by class"] = lambda: _gain(stem, compared_runs(results, dataset))
    methods = file_stems(filter(None, dict.fromkeys((METHOD, results.baseline))))
    for name, ending in methods.items():
        own = f"{stem}_reliability_{ending}"
        makers[f"reliability of {name}"] = partial(_reliability, results.collection, dataset, name, own)
    return makers


def _curves(dataset: str, stem: str, cells: pd.DataFrame, along: str, metric: str) -> Drawing:
    against, draw = CURVES[along]
    what = f"{METRICS[metric].capitalize()} on {dataset} against {against}"
    missing = _missing_text(curve_cells(cells, along), metric)
    return Drawing(
        f"{stem}_{along}_{metric}",
        f"{what}: mean of the seeds, with ± one standard deviation; methods stand side by side at each value.{missing}",
        f"Line chart. {what}, a line for each method; the table of accuracies has its numbers.{missing}",
        draw(cells, metric),
    )


def _missing_text(cells: pd.DataFrame, *metrics: str) -> str:
    """A sentence with the number of seeds that the cells of a figure lack; "" where they lack none.

    Where no run of a cell has a metric, the metric does not apply: then only the runs that did not finish are lacking.
    """
    found = [cells[f"{metric}_n"].where(cells[f"{metric}_n"] > 0, cells["n"]) for metric in metrics]
    lacking = int((cells["expected"] - np.minimum.reduce(found)).sum())
    if not lacking:
        return ""
    seeds = "1 seed is" if lacking == 1 else f"{lacking} seeds are"
    return f" {seeds} missing: a hollow point is of fewer than expected, and a point without any is not there."


def _scatter(dataset: str, stem: str, cells: pd.DataFrame) -> Drawing:
    what = f"Out-of-domain against in-domain accuracy on {dataset}"
    least = cells.loc[cells["n"] > 0, "imbalance"].min()
    missing = _missing_text(cells[cells["imbalance"] == least], *ACCURACIES)
    points = "a point for each method and number of shots; the table of accuracies has its numbers"
    return Drawing(
        f"{stem}_domains",
        f"{what}, with ± one standard deviation; on the line both are equal.{missing}",
        f"Scatter chart. {what}, {points}.{missing}",
        domain_scatter(cells),
    )


def _gain(stem: str, pair: ComparedRuns) -> Drawing:
    first = [_target_rows(rows, pair.targets) for rows in pair.first]
    second = [_target_rows(rows, pair.targets) for rows in pair.second]
    where = "the target domains" if pair.targets else f"all {pair.images}"
    what = f"Gain of {pair.names[0]} over {pair.names[1]} in the accuracy of each class on {where} of {pair.setting}"
    return Drawing(
        f"{stem}_gain",
        f"{what}, in percentage points from unrounded values, mean of {len(first)} "
        f"seed{'s' if len(first) > 1 else ''}.",
        f"Bar chart. {what}, from the class that loses most to the one that gains most.",
        class_gain(first, second, pair.names),
    )


def _target_rows(predictions: Predictions, targets: Sequence[str]) -> Predictions:
    """The rows of the target domains; all where there are none.

    Raises:
        InputError: no test row is of a target domain, or the predictions do not know one of these domains.
    """
    if not targets:
        return predictions
    unknown = [name for name in targets if name not in predictions.domains]
    if unknown:
        raise InputError(f"the predictions know no domain {unknown[0]}")
    rows = predictions.of_domains(targets)
    if not len(rows):
        raise InputError(f"no row of the target domains ({', '.join(targets)}) was tested on")
    return rows


def _reliability(collection: Collection, dataset: str, name: str, stem: str) -> Drawing:
    run, method = first_run(collection, dataset, name)
    setting, images = setting_label(dataset, run.record), images_label(run.record)
    what = f"Accuracy of {method} against its confidence on all {images} of {setting}, seed {run.record.seed}"
    return Drawing(
        stem,
        f"{what}; a calibrated classifier lies on the diagonal. Hollow bins hold fewer than {FEW_PERCENT:g} % of the "
        f"images or fewer than {FEW_ROWS}: what they show may be chance.",
        f"Reliability diagram. {what}, in bins of confidence.",
        reliability_diagram(read_predictions(run), method),
    )
