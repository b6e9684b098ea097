"""Figures of predictions: the gain of each class over a baseline, and the calibration of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lare_dassl.errors import InputError
from lare_dassl.report.runs.differences import signed
from lare_dassl.results.metrics import ECE_BINS, confidence_bins, expected_calibration_error
from lare_dassl.results.predictions import Predictions

from .style import (
    PALETTE,
    QUIET,
    SETTINGS,
    WIDTH,
    legend_below,
    method_style,
    new_figure,
    short,
    wrapped,
)

MOST_NAMED = 30
"""Classes that a figure names all of."""
FEW_ROWS, FEW_PERCENT = 10, 1.0
"""A bin of fewer rows than either says little of how calibrated a run is."""


def class_gain(
    method: Sequence[Predictions], baseline: Sequence[Predictions], names: tuple[str, str] = ("LARE", "FineTune")
) -> Figure:
    """Per-class gain in accuracy of a method over a baseline, in percentage points, mean over the seeds.

    Classes stand from the largest loss to the largest gain; of more than MOST_NAMED the two ends alone are named.

    Args:
        method: of each seed; `Predictions.of_domains` takes the target domains alone.
        baseline: of the same seeds on the same test rows.
        names: of the two, for the labels.

    Raises:
        InputError: the two are not of the same test rows.
    """
    gains = class_gains(method, baseline)
    order = sorted(gains, key=lambda name: (gains[name], name))
    values = [gains[name] for name in order]
    ahead, behind = sum(value > 0 for value in values), sum(value < 0 for value in values)
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(height=2.3 if len(order) > MOST_NAMED else 0.7 + 0.15 * len(order))
        _gain_bars(axes, order, values, names)
        title = wrapped(f"{names[0]} against {names[1]}")
        figure.set_figheight(figure.get_figheight() + 0.15 * title.count("\n"))
        figure.suptitle(f"{title}\nbetter in {ahead}, worse in {behind} of {len(order)} classes")
    return figure


def _gain_bars(axes: Axes, order: Sequence[str], values: Sequence[float], names: tuple[str, str]) -> None:
    """Bars with the name of each class beside it; of many classes, upright ones with the names of both ends."""
    ahead, behind = (method_style(name.partition(" (")[0]).colour for name in names)
    colours = [ahead if value >= 0 else behind for value in values]
    label = "gain (percentage points)"
    # The ends of the axis lie beyond the bars, also where all bars stand on one side of zero.
    axes.use_sticky_edges = False
    if len(order) <= MOST_NAMED:
        axes.barh(range(len(order)), values, color=colours, height=0.75)
        axes.set(xlabel=label, ylim=(-0.6, len(order) - 0.4))
        axes.set_yticks(range(len(order)), [short(name) for name in order], fontsize=7)
        axes.axvline(0, color="black", linewidth=0.6)
    else:
        axes.bar(range(len(order)), values, color=colours, width=1.0)
        axes.set(ylabel=label)
        ends = [f"{short(order[index])} ({signed(values[index])})" for index in (0, -1)]
        axes.set_xlabel(f"classes, from {ends[0]}\nto {ends[1]}")
        axes.xaxis.set_major_locator(NullLocator())
        axes.axhline(0, color="black", linewidth=0.6)


def class_gains(method: Sequence[Predictions], baseline: Sequence[Predictions]) -> dict[str, float]:
    """Mean over the seeds of the gain in accuracy on each class that has test rows, in percentage points.

    Raises:
        InputError: there are no predictions, or the two are not of the same test rows.
    """
    if not method or len(method) != len(baseline):
        raise InputError(f"gains need predictions of the same seeds, not {len(method)} against {len(baseline)} runs")
    gains = np.stack([_class_gain(*pair) for pair in zip(method, baseline, strict=True)])
    present = method[0].label.unique().tolist()
    means = gains.mean(axis=0)
    return {method[0].classnames[label]: float(means[label]) for label in present}


def _class_gain(method: Predictions, baseline: Predictions) -> np.ndarray:
    same = method.classnames == baseline.classnames and torch.equal(method.label, baseline.label)
    if not same or not torch.equal(method.domain, baseline.domain):
        raise InputError("gains need predictions on the same test rows, and these are of other ones")
    rows = torch.bincount(method.label, minlength=len(method.classnames)).clamp(min=1)
    wins = method.correct.double() - baseline.correct.double()
    sums = torch.zeros(len(rows), dtype=torch.float64).index_add(0, method.label, wins)
    return np.asarray(100.0 * sums / rows)


def reliability_diagram(predictions: Predictions, name: str = "", bins: int = ECE_BINS) -> Figure:
    """Accuracy against confidence in equally wide bins, with the share of rows in each; the title states the ECE.

    Args:
        predictions: of one run.
        name: of the method, for the title.
        bins: number of bins.
    """
    confidence, accuracy, share = reliability(predictions, bins)
    few = bins_of_few_rows(share, len(predictions))
    error = expected_calibration_error(predictions.confidence, predictions.correct, bins)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 100], [0, 100], color=QUIET, linewidth=0.8, linestyle="--", label="calibrated")
        for chosen, look in (((share > 0) & ~few, SOLID), (few, HOLLOW)):
            _bin_bars(axes, accuracy, chosen, look)
            _bin_bars(below, share, chosen, look)
            _bin_means(axes, confidence, accuracy, chosen, look)
        axes.set(xlim=(-2, 102), ylim=(-3, 103), ylabel="accuracy (%)")
        below.set(xlabel="confidence (%)", ylabel="share of\nimages (%)")
        figure.suptitle("\n".join(filter(None, (wrapped(name), f"calibration error (ECE) {error:.1f} %"))))
        legend_below(figure, axes)
    return figure


@dataclass(frozen=True)
class BinLook:
    """Settings of matplotlib for the bins of many rows, or for those of few."""

    bar: dict[str, Any]
    mean: dict[str, Any]


SOLID = BinLook(
    {"color": PALETTE["sky blue"], "edgecolor": "white", "linewidth": 0.5},
    {"markerfacecolor": "black", "label": "mean of a bin"},
)
HOLLOW = BinLook(
    {"color": "white", "edgecolor": PALETTE["sky blue"], "linewidth": 0.7, "linestyle": ":"},
    {"markerfacecolor": "white", "label": "bin of few images"},
)


def _bin_bars(axes: Axes, heights: np.ndarray, chosen: np.ndarray, look: BinLook) -> None:
    width = 100 / len(heights)
    axes.bar(width * np.flatnonzero(chosen), heights[chosen], width, align="edge", **look.bar)


def _bin_means(axes: Axes, confidence: np.ndarray, accuracy: np.ndarray, chosen: np.ndarray, look: BinLook) -> None:
    if chosen.any():
        dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 5, "markeredgecolor": "black"}
        axes.plot(confidence[chosen], accuracy[chosen], **dots, **look.mean)


def bins_of_few_rows(share: np.ndarray, rows: int) -> np.ndarray:
    """True for each bin that has rows, but fewer than FEW_ROWS or FEW_PERCENT of all, bool (bins,).

    Args:
        share: of all rows in each bin, in percent.
        rows: number of all rows.
    """
    return np.asarray((share > 0) & ((share < FEW_PERCENT) | (np.rint(share * rows / 100) < FEW_ROWS)))


def reliability(predictions: Predictions, bins: int = ECE_BINS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of the rows of each bin in percent, (bins,) each; NaN where one is empty.

    The bins are those of metrics.expected_calibration_error.
    """
    index = confidence_bins(predictions.confidence, bins)
    counts = torch.bincount(index, minlength=bins).double()
    means = []
    for values in (predictions.confidence, predictions.correct):
        sums = torch.zeros(bins, dtype=torch.float64).index_add(0, index, values.double())
        means.append(np.asarray(100.0 * sums / counts))
    return means[0], means[1], np.asarray(100.0 * counts / len(index))
