"""Figures of a report, for a column of 85 mm: each function gives a matplotlib Figure.

A method has the same colour and marker in all of them (palette of Okabe and Ito, 2008); its variants differ in the
style of the line and the filling of the marker. A hollow marker is of fewer seeds than expected.
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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from ..errors import InputError
from ..files import replaced
from ..record import METRICS
from ..split_settings import ALL_SHOTS
from .layout import axis_label, curve_cells
from .summary import METHODS, method_order

WIDTH = 3.35
"""Of a figure in inches: a column of 85 mm."""
PALETTE = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""The colours of Okabe and Ito (2008), which people of all kinds of colour vision tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
# None is hollow: that says that seeds are missing.
FILLINGS: tuple[Any, ...] = ("full", "left", "right", "bottom", "top")
PNG_DPI = 200
LARGER = 6.5
"""Size of the marker of the most images, in points."""
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
    frame = _measured(curve_cells(cells, "shots"), metric)
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
    frame = _measured(curve_cells(cells, "imbalance"), metric)
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
    _hollow(axes, x, mean, lacks_seeds(cells, metric), style)


def lacks_seeds(cells: pd.DataFrame, metric: str) -> np.ndarray:
    """Whether each cell has the metric of fewer seeds than expected, bool (cells,)."""
    return np.asarray(cells[f"{metric}_n"] < cells["expected"])


def _hollow(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    chosen: np.ndarray,
    style: Style,
    *,
    size: float = SETTINGS["lines.markersize"],
) -> None:
    """Empty the markers of the chosen points."""
    if chosen.any():
        own = _marker(style) | {"fillstyle": "full", "markerfacecolor": "white", "markersize": size}
        axes.plot(x[chosen], y[chosen], linestyle="none", **own)


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
    few = lacks_seeds(cells, "in_domain_accuracy") | lacks_seeds(cells, "out_of_domain_accuracy")
    _hollow(axes, x, y, few, style)
    if len(cells) > 1:
        axes.plot(x[-1:], y[-1:], markersize=LARGER, **own)
        _hollow(axes, x[-1:], y[-1:], few[-1:], style, size=LARGER)


def _equal_axes(axes: Axes) -> None:
    """The same limits on both axes, with the line on which both accuracies are equal."""
    low = max(0.0, min(axes.get_xlim()[0], axes.get_ylim()[0]))
    high = min(100.0, max(axes.get_xlim()[1], axes.get_ylim()[1]))
    axes.plot([low, high], [low, high], color=QUIET, linewidth=0.8, linestyle="--", label="y = x", zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")


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
