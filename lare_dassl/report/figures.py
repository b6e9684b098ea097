"""Figures of a report, for a column of 85 mm: each function gives a matplotlib Figure.

A method has the same colour and marker in all of them (palette of Okabe and Ito, 2008); its variants differ in the
style of the line and the filling of the marker.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ..errors import InputError
from ..evaluation import ECE_BINS, expected_calibration_error
from ..files import replaced
from ..predictions import Predictions
from ..record import METRICS
from ..split_settings import ALL_SHOTS
from .differences import signed
from .layout import axis_label
from .summary import METHODS, method_order

WIDTH = 3.35
"""Of a figure in inches: a column of 85 mm."""
PALETTE = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""The colours of Okabe and Ito (2008), which people of all kinds of colour vision tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
FILLINGS: tuple[Any, ...] = ("full", "none", "left", "right", "bottom")
PNG_DPI = 200
MOST_NAMED = 30
"""Classes that a figure names all of."""
QUIET = "#8c8c8c"
# Colour and marker of each method: the four of the main comparison have the colours that lie furthest apart; yellow,
# which is faint on white, comes last.
STYLES = dict(
    zip(
        METHODS,
        ((0, 0), (1, 1), (5, 2), (6, 3), (3, 4), (2, 5), (7, 6), (7, 7), (3, 8), (2, 9), (1, 4), (5, 6), (0, 5)),
        strict=True,
    )
)
SETTINGS: Any = {
    "font.size": 8,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    # The same figure gives the same bytes, and its letters stay letters.
    "svg.hashsalt": "lare_dassl",
    "svg.fonttype": "none",
    # Names of classes are no formulas, whatever signs they hold.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    colour: str
    marker: str
    line: Any = "-"
    filling: Any = "full"


def method_style(trainer: str, variant: int = 0) -> Style:
    """How a method is drawn: its name says the colour and the marker, whatever else is in a figure.

    Args:
        trainer: registered name; of one that is not in METHODS a checksum of the name chooses.
        variant: number of its variant in the figure, from 0.
    """
    others = [
        (colour, marker)
        for marker in range(len(MARKERS))
        for colour in range(len(PALETTE))
        if (colour, marker) not in STYLES.values()
    ]
    colour, marker = STYLES.get(trainer) or others[zlib.crc32(trainer.encode()) % len(others)]
    return Style(PALETTE[colour], MARKERS[marker], LINES[variant % len(LINES)], FILLINGS[variant % len(FILLINGS)])


def new_figure(height: float = 2.5, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure of column width, with one pair of axes; sizes in inches."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def few_shot_curves(cells: pd.DataFrame, metric: str = "out_of_domain_accuracy") -> Figure:
    """A metric in percent against the images per class: mean with a band of ± std; all images are the last tick.

    Args:
        cells: of one dataset, see summary.cells; runs with a long tail are left out.
        metric: key of record.METRICS.

    Raises:
        InputError: there are fewer than two numbers of shots, or runs of several datasets.
    """
    frame = _measured(cells[cells["imbalance"] == 1], metric)
    figure = _curves(frame, "shots", metric)
    figure.axes[0].set_xlabel("training images per class")
    return figure


def imbalance_curves(cells: pd.DataFrame, metric: str = "in_domain_accuracy") -> Figure:
    """A metric in percent against the imbalance ratio (log axis): mean with a band of ± std.

    Args:
        cells: of one dataset, see summary.cells; few-shot runs are left out.
        metric: key of record.METRICS.

    Raises:
        InputError: there are fewer than two ratios, or runs of several datasets.
    """
    frame = _measured(cells[cells["shots"] == ALL_SHOTS], metric)
    figure = _curves(frame, "imbalance", metric)
    figure.axes[0].set_xlabel("imbalance ratio (largest class : smallest class)")
    return figure


def _measured(cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The cells that have a metric.

    Raises:
        InputError: they are of several datasets.
    """
    frame = cells[cells[f"{metric}_mean"].notna()]
    if frame["dataset"].nunique() > 1:
        raise InputError(f"a figure is of one dataset, not of {', '.join(frame['dataset'].unique())}")
    return frame


def _curves(frame: pd.DataFrame, along: str, metric: str) -> Figure:
    values = sorted(frame[along].unique(), key=lambda value: (value == ALL_SHOTS, value))
    if len(values) < 2:
        raise InputError(f"a curve of {METRICS[metric]} needs runs at two values of {along}, not {len(values)}")
    place = dict(zip(values, _places(values), strict=True))
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(height=2.6)
        for style, of_method in _methods(frame):
            _band(axes, np.array([place[value] for value in of_method[along]]), of_method, metric, style)
        axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
        axes.set_xticklabels([axis_label(along, value) for value in values])
        axes.set_ylabel(f"{METRICS[metric]} (%)")
        _legend_below(figure, axes)
    return figure


def _places(values: Sequence[float]) -> list[float]:
    """Where values stand on the axis: at their binary logarithms, all images one step behind the last number."""
    logarithms = [math.log2(value) for value in values if value != ALL_SHOTS]
    return logarithms + [logarithms[-1] + 1] * (len(values) - len(logarithms))


def _methods(frame: pd.DataFrame) -> Iterator[tuple[Style, pd.DataFrame]]:
    """Each method's style and cells, in the order of tables; the style of a variant is that of its place among all."""
    names = frame[["trainer", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    seen: dict[str, int] = {}
    for trainer, variant in sorted(names, key=lambda name: method_order(*name)):
        seen[trainer] = seen.get(trainer, -1) + 1
        chosen = (frame["trainer"] == trainer) & (frame["variant"] == variant)
        yield method_style(trainer, seen[trainer]), frame[chosen]


def _band(axes: Axes, x: np.ndarray, cells: pd.DataFrame, metric: str, style: Style) -> None:
    mean, std = (cells[f"{metric}_{figure}"].to_numpy() for figure in ("mean", "std"))
    spread = np.nan_to_num(std)
    axes.fill_between(x, mean - spread, mean + spread, color=style.colour, alpha=0.15, linewidth=0)
    axes.plot(x, mean, color=style.colour, linestyle=style.line, label=cells["method"].iloc[0], **_marker(style))


def _marker(style: Style) -> dict[str, Any]:
    own = {"marker": style.marker, "fillstyle": style.filling, "markerfacecoloralt": "white"}
    return own | {"markeredgecolor": style.colour, "markeredgewidth": 0.8}


def _legend_below(figure: Figure, axes: Axes, title: str = "") -> None:
    """A legend below the axes, which then never hides a curve; names that are long stand in one column."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels))
    columns = 1 if longest > 28 else 2 if longest > 14 or len(labels) == 4 else 3
    # Each line of the legend takes its height from the figure, not from the axes.
    lines = math.ceil(len(labels) / columns) + bool(title)
    figure.set_figheight(figure.get_figheight() + 0.14 * lines)
    where: Any = {"loc": "outside lower center", "ncols": columns, "handlelength": 2.2, "columnspacing": 1.0}
    figure.legend(handles, labels, title=title or None, title_fontsize=7, **where)


def domain_scatter(cells: pd.DataFrame) -> Figure:
    """Out-of-domain against in-domain accuracy in percent, one point with ± std bars for each cell, and y = x.

    A thin line leads from a method's fewest training images to its most, which are the larger mark.

    Args:
        cells: of one dataset, see summary.cells; those with more than the least imbalance are left out.

    Raises:
        InputError: no run has both accuracies, or runs of several datasets.
    """
    frame = _measured(cells, "in_domain_accuracy")
    frame = frame[frame["out_of_domain_accuracy_mean"].notna()]
    frame = frame[frame["imbalance"] == frame["imbalance"].min()]
    if frame.empty:
        raise InputError("there are no runs with both in-domain and out-of-domain accuracy")
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(height=3.0)
        for style, of_method in _methods(frame):
            _points(axes, of_method, style)
        _equal_axes(axes)
        axes.set_xlabel("in-domain accuracy (%)")
        axes.set_ylabel("out-of-domain accuracy (%)")
        several = frame.groupby("method")["shots"].nunique().max() > 1
        _legend_below(figure, axes, "larger mark: most images per class" if several else "")
    return figure


def _points(axes: Axes, cells: pd.DataFrame, style: Style) -> None:
    x, y, x_std, y_std = (
        cells[f"{role}_accuracy_{figure}"].to_numpy()
        for figure in ("mean", "std")
        for role in ("in_domain", "out_of_domain")
    )
    bars: Any = {"fmt": "none", "ecolor": style.colour, "elinewidth": 0.7}
    axes.errorbar(x, y, xerr=np.nan_to_num(x_std), yerr=np.nan_to_num(y_std), **bars)
    own = {"color": style.colour, "linestyle": style.line, "linewidth": 0.6} | _marker(style)
    axes.plot(x, y, label=cells["method"].iloc[0], **own)
    if len(cells) > 1:
        axes.plot(x[-1:], y[-1:], markersize=6.5, **own)


def _equal_axes(axes: Axes) -> None:
    """The same limits on both axes, with the line on which both accuracies are equal."""
    low = max(0.0, min(axes.get_xlim()[0], axes.get_ylim()[0]))
    high = min(100.0, max(axes.get_xlim()[1], axes.get_ylim()[1]))
    axes.plot([low, high], [low, high], color=QUIET, linewidth=0.8, linestyle="--", label="y = x", zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


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


def save(figure: Figure, path_stem: Path) -> tuple[Path, Path]:
    """Write a figure as PNG (200 dpi) and SVG (the same bytes each time), beside each other.

    Returns:
        The two paths, `path_stem` with .png and .svg.

    Raises:
        InputError: a file cannot be written.
    """
    paths = (path_stem.with_name(f"{path_stem.name}.png"), path_stem.with_name(f"{path_stem.name}.svg"))
    for path, metadata in zip(paths, ({"Software": None}, {"Date": None, "Creator": None}), strict=True):
        with replaced(path) as temporary, mpl.rc_context(SETTINGS):
            figure.savefig(temporary, format=path.suffix[1:], dpi=PNG_DPI, metadata=metadata)
    return paths
