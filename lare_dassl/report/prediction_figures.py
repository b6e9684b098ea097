"""Figures of what runs predicted: the gain of each class over a baseline, and how calibrated a run is."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..errors import InputError
from ..evaluation import ECE_BINS, expected_calibration_error
from ..predictions import Predictions
from .differences import signed
from .figures import PALETTE, QUIET, SETTINGS, WIDTH, method_style, new_figure

MOST_NAMED = 30
"""Classes that a figure names all of."""


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
        axes.set_title(f"{names[0]} against {names[1]}\nbetter in {ahead}, worse in {behind} of {len(order)} classes")
    return figure


def _gain_bars(axes: Axes, order: Sequence[str], values: Sequence[float], names: tuple[str, str]) -> None:
    """Bars with the name of each class beside it; of many classes, upright ones with the names of both ends."""
    ahead, behind = (method_style(name.partition(" (")[0]).colour for name in names)
    colours = [ahead if value >= 0 else behind for value in values]
    label = "gain (percentage points)"
    if len(order) <= MOST_NAMED:
        axes.barh(range(len(order)), values, color=colours, height=0.75)
        axes.set(xlabel=label, ylim=(-0.6, len(order) - 0.4))
        axes.set_yticks(range(len(order)), order, fontsize=7)
        axes.axvline(0, color="black", linewidth=0.6)
    else:
        axes.bar(range(len(order)), values, color=colours, width=1.0)
        axes.set(ylabel=label, xlim=(-0.6, len(order) - 0.4))
        ends = [f"{order[index]} ({signed(values[index])})" for index in (0, -1)]
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
    error = expected_calibration_error(predictions.confidence, predictions.correct, bins)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        left, width = 100 * np.arange(bins) / bins, 100 / bins
        axes.bar(left, accuracy, width, align="edge", color=PALETTE[2], edgecolor="white", linewidth=0.5)
        axes.plot([0, 100], [0, 100], color=QUIET, linewidth=0.8, linestyle="--", label="calibrated")
        axes.plot(confidence, accuracy, color="black", marker="o", markersize=3, linewidth=0.8, label="mean of a bin")
        below.bar(left, share, width, align="edge", color=QUIET, edgecolor="white", linewidth=0.5)
        axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy (%)")
        below.set(xlabel="confidence (%)", ylabel="rows (%)")
        axes.set_title(f"{name}: ECE {error:.1f} %" if name else f"ECE {error:.1f} %")
        axes.legend(loc="upper left")
    return figure


def reliability(predictions: Predictions, bins: int = ECE_BINS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and share of the rows of each bin in percent, (bins,) each; NaN where one is empty.

    The bins are those of evaluation.expected_calibration_error: equally wide, the upper edge belongs to them.
    """
    index = (predictions.confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(index, minlength=bins).double()
    means = []
    for values in (predictions.confidence, predictions.correct):
        sums = torch.zeros(bins, dtype=torch.float64).index_add(0, index, values.double())
        means.append(np.asarray(100.0 * sums / counts))
    return means[0], means[1], np.asarray(100.0 * counts / len(index))
