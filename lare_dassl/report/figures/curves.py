"""Curves of a metric against the images per class or the imbalance ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.errors import InputError
from lare_dassl.report.runs.report_table import axis_label, curve_cells
from lare_dassl.results.record import METRICS

from .marks import hollow, lacks_seeds, marker, measured_cells, method_cells
from .style import SETTINGS, Style, legend_below, new_figure

DODGE = 0.4
"""Width of the methods side by side at one value of a curve, in steps from one value to the next."""
MOST_DODGE = 0.06
"""Distance of two methods side by side, at most."""
MOST_BANDS = 5
"""Methods whose spread is drawn as bands; that of more, which would hide each other, is drawn as bars."""


def few_shot_curves(cells: pd.DataFrame, metric: str = "out_of_domain_accuracy") -> Figure:
    """A metric in percent against the images per class: mean with a band of ± std; all images are the last tick.

    Args:
        cells: of one dataset, see summary.cells; runs with a long tail are left out.
        metric: key of record.METRICS.

    Raises:
        InputError: there are fewer than two numbers of shots, or runs of several datasets.
    """
    return _curves(cells, "shots", metric, "training images per class")


def imbalance_curves(cells: pd.DataFrame, metric: str = "in_domain_accuracy") -> Figure:
    """A metric in percent against the imbalance ratio (log axis): mean with a band of ± std.

    Args:
        cells: of one dataset, see summary.cells; few-shot runs are left out.
        metric: key of record.METRICS.

    Raises:
        InputError: there are fewer than two ratios, or runs of several datasets.
    """
    return _curves(cells, "imbalance", metric, "imbalance ratio (largest class : smallest class)")


def _curves(cells: pd.DataFrame, along: str, metric: str, label: str) -> Figure:
    frame = measured_cells(curve_cells(cells, along), metric)
    values = sorted(frame[along].unique(), key=lambda value: (value == ALL_SHOTS, value))
    if len(values) < 2:
        raise InputError(f"a curve of {METRICS[metric]} needs runs at two values of {along}, not {len(values)}")
    place = dict(zip(values, _places(values), strict=True))
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(height=2.6)
        methods = list(method_cells(frame))
        for shift, (style, of_method) in zip(_shifts(len(methods), list(place.values())), methods, strict=True):
            x = shift + np.array([place[value] for value in of_method[along]])
            _line(axes, x, of_method, metric, style)
            _spread(axes, x, of_method, metric, style, band=len(methods) <= MOST_BANDS)
        axes.margins(y=0.08)
        axes.xaxis.set_major_locator(FixedLocator(list(place.values())))
        axes.set_xticklabels([axis_label(along, value) for value in values])
        axes.set(xlabel=label, ylabel=f"{METRICS[metric]} (%)")
        legend_below(figure, axes)
    return figure


def _places(values: Sequence[float]) -> list[float]:
    """Positions of values on the axis: their binary logarithms; all images stand one step behind the last number."""
    logarithms = [math.log2(value) for value in values if value != ALL_SHOTS]
    return logarithms + [logarithms[-1] + 1] * (len(values) - len(logarithms))


def _shifts(count: int, places: Sequence[float]) -> np.ndarray:
    """Horizontal shifts (count,) of methods at one value, so that equal points do not hide each other."""
    step = min(MOST_DODGE, DODGE / count) * min(map(float, np.diff(places)))
    return step * (np.arange(count) - (count - 1) / 2)


def _spread(axes: Axes, x: np.ndarray, cells: pd.DataFrame, metric: str, style: Style, *, band: bool) -> None:
    """One standard deviation to both sides of the mean, as a band or as bars."""
    mean, spread = cells[f"{metric}_mean"].to_numpy(), np.nan_to_num(cells[f"{metric}_std"].to_numpy())
    if band:
        axes.fill_between(x, mean - spread, mean + spread, color=style.colour, alpha=0.15, linewidth=0)
    else:
        axes.errorbar(x, mean, yerr=spread, fmt="none", ecolor=style.colour, elinewidth=0.7)


def _line(axes: Axes, x: np.ndarray, cells: pd.DataFrame, metric: str, style: Style) -> None:
    mean = cells[f"{metric}_mean"].to_numpy()
    axes.plot(x, mean, color=style.colour, linestyle=style.line, label=cells["method"].iloc[0], **marker(style))
    hollow(axes, x, mean, lacks_seeds(cells, metric), style)
