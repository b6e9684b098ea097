"""Figures of a report, for a column of 85 mm: each function gives a matplotlib Figure.

A method has the same colour (palette of Okabe and Ito, 2008), marker and line in all of them; its variants differ in
the line and in the filling of the marker. A hollow marker is of fewer seeds than expected.
"""

from __future__ import annotations

import math
import textwrap
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.errors import InputError
from lare_dassl.io.files import replaced
from lare_dassl.report.runs.report_table import axis_label, curve_cells
from lare_dassl.report.runs.summary import method_order
from lare_dassl.results.record import METRICS
from lare_dassl.trainers.base.description import LAST, in_reports

WIDTH = 3.35
"""Of a figure in inches: a column of 85 mm."""
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "bluish green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "reddish purple": "#CC79A7",
}
"""The colours of Okabe and Ito (2008), which people of all kinds of colour vision tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
LINE_LENGTH = 42
"""Letters of a title or an entry of a legend that fit into the width of a figure."""
DODGE = 0.4
"""Width of the methods side by side at one value of a curve, in steps from one value to the next."""
MOST_DODGE = 0.06
"""Distance of two methods side by side, at most."""
# None is hollow: that says that seeds are missing.
FILLINGS: tuple[Any, ...] = ("full", "left", "right", "bottom", "top")
SHADES = (1.0, 0.6, 0.25)
MOST_BANDS = 5
"""Methods whose spread is drawn as bands; that of more, which would hide each other, is drawn as bars."""
PNG_DPI = 200
LARGER = 7.5
"""Size of the marker of the most images, in points."""
QUIET = "#8c8c8c"
SETTINGS: Any = {
    "font.size": 8,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "axes.titlesize": 8,
    "figure.titlesize": 8,
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
    "lines.markersize": 5,
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
    """Colour, marker and line of a method: the same in all figures, whatever else is in them.

    Args:
        trainer: registered name, or label; of a method without a place of its own a checksum of the name chooses.
        variant: number of its variant in the figure, from 0.
    """
    looks = _looks()
    colour, marker, line = looks.get(trainer) or _free_look(trainer, list(looks.values()))
    own_line, filling = LINES[(line + variant) % len(LINES)], FILLINGS[variant % len(FILLINGS)]
    return Style(_shade(PALETTE.get(colour, colour), variant // len(FILLINGS)), MARKERS[marker], own_line, filling)


def _looks() -> dict[str, tuple[str, int, int]]:
    """Colour, number of the marker and number of the line of each method that has a place of its own, by its name.

    The first method of a colour has a solid line, the second a dashed one.
    """
    placed = [method for method in in_reports().values() if method.place < LAST]
    colours = [method.colour for method in placed]
    return {
        method.name: (method.colour, place % len(MARKERS), int(method.colour in colours[:place]))
        for place, method in enumerate(placed)
    }


def _free_look(trainer: str, taken: Sequence[tuple[str, int, int]]) -> tuple[str, int, int]:
    """A look that none of the others has: in the method's own colour where it declares one."""
    own = [method.colour for method in in_reports().values() if trainer in (method.name, method.label)]
    used = {colour for colour, _, _ in taken}
    colours = list(filter(None, own)) or [colour for colour in PALETTE if colour in used]
    both = {(colour, marker) for colour, marker, _ in taken}
    free = [look for look in product(colours, range(len(MARKERS))) if look not in both]
    return *free[zlib.crc32(trainer.encode()) % len(free)], 2


def _shade(colour: str, number: int) -> str:
    """A colour, or one between it and grey for further variants of a method."""
    strength = SHADES[number % len(SHADES)]
    red, green, blue = (strength * part + (1 - strength) * 0.6 for part in to_rgb(colour))
    return to_hex((red, green, blue)).upper()


def short(name: str, most: int = 20) -> str:
    """A name that fits into one column of a legend, or beside an axis."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def wrapped(text: str, length: int = LINE_LENGTH) -> str:
    """A text in lines of at most some letters, so that none of it is cut off."""
    return textwrap.fill(text, length, break_on_hyphens=False)


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
        methods = list(_methods(frame))
        for shift, (style, of_method) in zip(_shifts(len(methods), list(place.values())), methods, strict=True):
            x = shift + np.array([place[value] for value in of_method[along]])
            _line(axes, x, of_method, metric, style)
            _spread(axes, x, of_method, metric, style, band=len(methods) <= MOST_BANDS)
        axes.margins(y=0.08)
        axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
        axes.set_xticklabels([axis_label(along, value) for value in values])
        axes.set_ylabel(f"{METRICS[metric]} (%)")
        legend_below(figure, axes)
    return figure


def _places(values: Sequence[float]) -> list[float]:
    """Where values stand on the axis: at their binary logarithms, all images one step behind the last number."""
    logarithms = [math.log2(value) for value in values if value != ALL_SHOTS]
    return logarithms + [logarithms[-1] + 1] * (len(values) - len(logarithms))


def _shifts(count: int, places: Sequence[float]) -> np.ndarray:
    """How far each of some methods is drawn beside a place, (count,), so that equal points do not hide each other."""
    step = min(MOST_DODGE, DODGE / count) * min(map(float, np.diff(places)))
    return step * (np.arange(count) - (count - 1) / 2)


def _methods(frame: pd.DataFrame) -> Iterator[tuple[Style, pd.DataFrame]]:
    """Each method's style and cells, in the order of tables; the style of a variant is that of its place among all."""
    names = frame[["trainer", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    seen: dict[str, int] = {}
    for trainer, variant in sorted(names, key=lambda name: method_order(*name)):
        seen[trainer] = seen.get(trainer, -1) + 1
        chosen = (frame["trainer"] == trainer) & (frame["variant"] == variant)
        yield method_style(trainer, seen[trainer]), frame[chosen]


def _spread(axes: Axes, x: np.ndarray, cells: pd.DataFrame, metric: str, style: Style, *, band: bool) -> None:
    """One standard deviation to both sides of the mean, as a band or as bars."""
    mean, spread = cells[f"{metric}_mean"].to_numpy(), np.nan_to_num(cells[f"{metric}_std"].to_numpy())
    if band:
        axes.fill_between(x, mean - spread, mean + spread, color=style.colour, alpha=0.15, linewidth=0)
    else:
        axes.errorbar(x, mean, yerr=spread, fmt="none", ecolor=style.colour, elinewidth=0.7)


def _line(axes: Axes, x: np.ndarray, cells: pd.DataFrame, metric: str, style: Style) -> None:
    mean = cells[f"{metric}_mean"].to_numpy()
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


def legend_below(figure: Figure, axes: Axes, title: str = "") -> None:
    """A legend below the axes, which then never hides a curve; names that are long stand in one column, in lines."""
    handles, names = axes.get_legend_handles_labels()
    labels = [wrapped(name) for name in names]
    longest = max(map(len, labels))
    columns = 1 if longest > 20 else 2 if longest > 11 or len(labels) == 4 else 3
    # The legend takes its height from the figure, not from the axes: inches of its rows and of further lines in them.
    rows, more = math.ceil(len(labels) / columns) + bool(title), sum(label.count("\n") for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.17 * rows + 0.125 * more)
    where: Any = {
        "loc": "outside lower center",
        "ncols": columns,
        "handlelength": 3.0,
        "columnspacing": 1.0,
        "borderaxespad": 0.2,
    }
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
        axes.margins(0.08)
        _equal_axes(axes)
        axes.set_xlabel("in-domain accuracy (%)")
        axes.set_ylabel("out-of-domain accuracy (%)")
        several = frame.groupby("method")["shots"].nunique().max() > 1
        legend_below(figure, axes, "larger mark: most images per class" if several else "")
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
    """The same limits on both axes, beyond all marks, with the line on which both accuracies are equal."""
    low, high = (pick(*axes.get_xlim(), *axes.get_ylim()) for pick in (min, max))
    axes.plot([low, high], [low, high], color=QUIET, linewidth=0.8, linestyle="--", label="y = x", zorder=1)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(PercentLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10]))


class PercentLocator(MaxNLocator):
    """Ticks at round figures that a percentage can have, also where the axis reaches further."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Ticks from one value to another."""
        return [value for value in super().tick_values(vmin, vmax) if 0 <= value <= 100]


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
