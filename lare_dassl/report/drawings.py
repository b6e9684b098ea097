"""Which figures a report shows of its runs, each with its caption and its text for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..errors import InputError
from ..record import METRICS
from ..split_settings import ALL_SHOTS
from .collect import Collection, Predictions, Run, read_predictions
from .figures import class_gain, domain_scatter, few_shot_curves, imbalance_curves, reliability_diagram
from .summary import method_label, method_order, run_keys, shots_label

ACCURACIES = ("in_domain_accuracy", "out_of_domain_accuracy")
METHOD = "LARE"
"""The method whose gain over the baseline is drawn by class."""


@dataclass(frozen=True)
class Drawing:
    """A figure and what stands with it.

    Attributes:
        stem: of the names of its files.
        caption: below it.
        alt: what it shows, for those who do not see it.
        figure: itself.
    """

    stem: str
    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True)
class ComparedRuns:
    """Runs of two methods on the same dataset, shots, imbalance and seeds, with what they predicted.

    Attributes:
        setting: dataset, shots and imbalance as text.
        names: of the two methods.
        first: predictions of each seed.
        second: predictions of the same seeds.
        targets: names of the target domains.
    """

    setting: str
    names: tuple[str, str]
    first: list[Predictions]
    second: list[Predictions]
    targets: tuple[str, ...]


def all_drawings(collection: Collection, frame: pd.DataFrame, baseline: str) -> tuple[list[Drawing], list[str]]:
    """The figures that the runs allow, and a line for each of the others that says why it is not there.

    Args:
        collection: the runs.
        frame: their cells, see summary.cells.
        baseline: method that LARE is compared with; "" for none.
    """
    drawings, missing = [], []
    for dataset, cells in frame.groupby("dataset", sort=False):
        for title, make in _makers(str(dataset), cells, collection, baseline).items():
            try:
                drawings.append(make())
            except InputError as error:
                missing.append(f"{dataset}, {title}: not drawn, as {error}")
    return drawings, missing


def _makers(
    dataset: str, cells: pd.DataFrame, collection: Collection, baseline: str
) -> dict[str, Callable[[], Drawing]]:
    makers: dict[str, Callable[[], Drawing]] = {}
    for metric in ACCURACIES:
        makers[f"{METRICS[metric]} against shots"] = partial(_few_shot, dataset, cells, metric)
    for metric in ACCURACIES:
        makers[f"{METRICS[metric]} against imbalance"] = partial(_imbalance, dataset, cells, metric)
    makers["in-domain against out-of-domain accuracy"] = partial(_scatter, dataset, cells)
    if not baseline or baseline == METHOD:
        return makers
    makers["gain by class"] = lambda: _gain(dataset, compared_runs(collection, dataset, (METHOD, baseline)))
    for place, name in enumerate((METHOD, baseline)):
        makers[f"reliability of {name}"] = partial(_reliability, collection, dataset, (METHOD, baseline), place)
    return makers


def _curves(dataset: str, metric: str, axis: str, against: str, figure: Figure) -> Drawing:
    what = f"{METRICS[metric].capitalize()} on {dataset} against {against}"
    return Drawing(
        _stem(dataset, axis, metric),
        f"{what}: mean of the seeds, and a band of ± one standard deviation.",
        f"Line chart. {what}, a line for each method; the table of accuracies has its numbers.",
        figure,
    )


def _few_shot(dataset: str, cells: pd.DataFrame, metric: str) -> Drawing:
    against = "the number of training images per class"
    return _curves(dataset, metric, "shots", against, few_shot_curves(cells, metric))


def _imbalance(dataset: str, cells: pd.DataFrame, metric: str) -> Drawing:
    against = "the ratio of the largest class to the smallest"
    return _curves(dataset, metric, "imbalance", against, imbalance_curves(cells, metric))


def _scatter(dataset: str, cells: pd.DataFrame) -> Drawing:
    what = f"Out-of-domain against in-domain accuracy on {dataset}"
    return Drawing(
        _stem(dataset, "domains"),
        f"{what}, with ± one standard deviation; on the line both are equal.",
        f"Scatter chart. {what}, a point for each method and number of shots; the table of accuracies has its numbers.",
        domain_scatter(cells),
    )


def _gain(dataset: str, pair: ComparedRuns) -> Drawing:
    first, second = ([_target_rows(rows, pair.targets) for rows in method] for method in (pair.first, pair.second))
    where = "the target domains" if pair.targets else "all test images"
    what = f"Gain of {pair.names[0]} over {pair.names[1]} in the accuracy of each class on {where} of {pair.setting}"
    return Drawing(
        _stem(dataset, "gain"),
        f"{what}, in percentage points, mean of {len(first)} seeds.",
        f"Bar chart. {what}, from the class that loses most to the one that gains most.",
        class_gain(first, second, pair.names),
    )


def _reliability(collection: Collection, dataset: str, methods: tuple[str, str], place: int) -> Drawing:
    pair = compared_runs(collection, dataset, methods)
    name, predictions = pair.names[place], (pair.first, pair.second)[place][0]
    what = f"Accuracy of {name} against its confidence on all test images of {pair.setting}, first seed"
    return Drawing(
        _stem(dataset, "reliability", methods[place]),
        f"{what}; a calibrated classifier lies on the diagonal.",
        f"Reliability diagram. {what}, in bins of confidence.",
        reliability_diagram(predictions, name),
    )


def _target_rows(predictions: Predictions, targets: Sequence[str]) -> Predictions:
    return predictions.of_domains(targets) if targets else predictions


def compared_runs(collection: Collection, dataset: str, methods: tuple[str, str]) -> ComparedRuns:
    """The runs of two methods on one dataset with the least imbalance and the most shots at which both have run.

    Args:
        collection: the runs.
        dataset: as summary.dataset_label names it.
        methods: as summary.method_label names them; a trainer stands for the first of its variants.

    Raises:
        InputError: the two have not run on the same setting and seed, or a run has no predictions.
    """
    settings: dict[tuple[float, float], dict[str, dict[tuple[str, str], dict[int, Run]]]] = {}
    keys = run_keys(collection.records).to_dict("records")
    for key, run in zip(keys, collection.runs, strict=True):
        pair = key["trainer"], key["variant"]
        for name in {key["trainer"], method_label(*pair)}.intersection(methods if key["dataset"] == dataset else ()):
            shots = float("inf") if key["shots"] == ALL_SHOTS else key["shots"]
            variants = settings.setdefault((key["imbalance"], -shots), {}).setdefault(name, {})
            variants.setdefault(pair, {})[key["seed"]] = run
    for _, runs in sorted(settings.items(), key=lambda item: item[0]):
        if len(runs) == len(methods):
            return _compare(dataset, runs[methods[0]], runs[methods[1]])
    raise InputError(f"{methods[0]} and {methods[1]} have not run on the same setting")


def _compare(dataset: str, *methods: dict[tuple[str, str], dict[int, Run]]) -> ComparedRuns:
    pairs = [min(variants, key=lambda pair: method_order(*pair)) for variants in methods]
    names = method_label(*pairs[0]), method_label(*pairs[1])
    first, second = (variants[pair] for variants, pair in zip(methods, pairs, strict=True))
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise InputError(f"{names[0]} and {names[1]} have no seed in common")
    return ComparedRuns(
        setting=_setting(dataset, first[seeds[0]].record),
        names=names,
        first=[read_predictions(first[seed]) for seed in seeds],
        second=[read_predictions(second[seed]) for seed in seeds],
        targets=tuple(first[seeds[0]].record.get("target_domains", ())),
    )


def _setting(dataset: str, record: dict[str, Any]) -> str:
    tail = "" if record["imbalance"] == 1 else f", imbalance {record['imbalance']:g}"
    return f"{dataset} ({shots_label(record['shots'])} shots{tail})"


def _stem(*parts: str) -> str:
    """A file name of letters, digits, - and _ alone."""
    return re.sub(r"[^a-z0-9_-]+", "-", "_".join(parts).lower()).strip("-")
