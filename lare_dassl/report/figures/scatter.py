"""Out-of-domain against in-domain accuracy."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lare_dassl.errors import InputError

from .marks import hollow, lacks_seeds, marker, measured_cells, method_cells
from .style import QUIET, SETTINGS, Style, legend_below, new_figure

LARGER = 7.5
"""Size of the marker of the most images, in points."""


def domain_scatter(cells: pd.DataFrame) -> Figure:
    """Out-of-domain against in-domain accuracy in percent, one point with ± std bars for each cell, and y = x.

    A thin line leads from a method's fewest training images to its most, which are the larger mark.

    Args:
        cells: of one dataset, see summary.cells; those with more than the least imbalance are left out.

    Raises:
        InputError: no run has both accuracies, or runs of several datasets.
    """
    frame = measured_cells(cells, "in_domain_accuracy")
    frame = frame[frame["out_of_domain_accuracy_mean"].notna()]
    frame = frame[frame["imbalance"] == frame["imbalance"].min()]
    if frame.empty:
        raise InputError("there are no runs with both in-domain and out-of-domain accuracy")
    with mpl.rc_context(SETTINGS):
        figure, axes = new_figure(height=3.0)
        for style, of_method in method_cells(frame):
            _points(axes, of_method, style)
        axes.margins(0.08)
        _equal_axes(axes)
        axes.set_xlabel("in-domain accuracy (%)")
        axes.set_ylabel("out-of-domain accuracy (%)")
        several = frame.groupby("method")["shots"].nunique().max() > 1
        legend_below(figure, axes, "larger mark: most images per class" if several else "")
    return figure


def _points(axes: Axes, cells: pd.DataFrame, style: Style) -> None:
    x, y = (cells[f"{role}_accuracy_mean"].to_numpy() for role in ("in_domain", "out_of_domain"))
    x_std, y_std = (np.nan_to_num(cells[f"{role}_accuracy_std"]) for role in ("in_domain", "out_of_domain"))
    axes.errorbar(x, y, xerr=x_std, yerr=y_std, fmt="none", ecolor=style.colour, elinewidth=0.7)
    own = {"color": style.colour, "linestyle": style.line, "linewidth": 0.6} | marker(style)
    axes.plot(x, y, label=cells["method"].iloc[0], **own)
    few = lacks_seeds(cells, "in_domain_accuracy") | lacks_seeds(cells, "out_of_domain_accuracy")
    hollow(axes, x, y, few, style)
    if len(cells) > 1:
        axes.plot(x[-1:], y[-1:], markersize=LARGER, **own)
        hollow(axes, x[-1:], y[-1:], few[-1:], style, size=LARGER)


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
