"""The cells of a figure by method, and their marks; a hollow one is of fewer seeds than expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lare_dassl.errors import InputError
from lare_dassl.report.runs.summary import method_order

from .style import SETTINGS, Style, method_style


def measured_cells(cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The cells that have a metric.

    Raises:
        InputError: they are of several datasets.
    """
    frame = cells[cells[f"{metric}_mean"].notna()]
    if frame["dataset"].nunique() > 1:
        raise InputError(f"a figure is of one dataset, not of {', '.join(frame['dataset'].unique())}")
    return frame


def method_cells(frame: pd.DataFrame) -> Iterator[tuple[Style, pd.DataFrame]]:
    """Each method's style and cells, in the order of tables; the style of a variant is that of its place among all."""
    names = frame[["trainer", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    seen: dict[str, int] = {}
    for trainer, variant in sorted(names, key=lambda name: method_order(*name)):
        seen[trainer] = seen.get(trainer, -1) + 1
        chosen = (frame["trainer"] == trainer) & (frame["variant"] == variant)
        yield method_style(trainer, seen[trainer]), frame[chosen]


def lacks_seeds(cells: pd.DataFrame, metric: str) -> np.ndarray:
    """True for each cell in which fewer seeds have the metric than expected, bool (cells,)."""
    return np.asarray(cells[f"{metric}_n"] < cells["expected"])


def hollow(
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
        own = marker(style) | {"fillstyle": "full", "markerfacecolor": "white", "markersize": size}
        axes.plot(x[chosen], y[chosen], linestyle="none", **own)


def marker(style: Style) -> dict[str, Any]:
    """The settings of matplotlib that draw a method's marker."""
    own = {"marker": style.marker, "fillstyle": style.filling, "markerfacecoloralt": "white"}
    return own | {"markeredgecolor": style.colour, "markeredgewidth": 0.8}
