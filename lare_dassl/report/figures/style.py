"""The look of figures for a column of 85 mm: colours, markers and lines of methods, fonts, legends and files.

A method has the same colour (palette of Okabe and Ito, 2008), marker and line in all figures; its variants differ in
the line and in the filling of the marker.
"""

from __future__ import annotations

import math
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lare_dassl.io.files import replaced
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
"""The colours of Okabe and Ito (2008), which can be distinguished with any kind of colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
LINE_LENGTH = 42
"""Letters of a title or an entry of a legend that fit into the width of a figure."""
# None is hollow: that says that seeds are missing.
FILLINGS: tuple[Any, ...] = ("full", "left", "right", "bottom", "top")
SHADES = (1.0, 0.6, 0.25)
PNG_DPI = 200
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
    """Colour, marker, line and filling of a method."""

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


def legend_below(figure: Figure, axes: Axes, title: str = "") -> None:
    """A legend below the axes, which then never hides a curve; names that are long stand in one column, in lines."""
    handles, names = axes.get_legend_handles_labels()
    labels = [wrapped(name) for name in names]
    longest = max(map(len, labels))
    several = 2 if longest > 11 or len(labels) == 4 else 3
    columns = 1 if longest > 20 else several
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
