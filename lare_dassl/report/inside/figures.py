"""Figures of a look inside LARE: real embeddings and regions in one plane, and the sizes of the regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from lare_dassl.report.figures.style import MARKERS, PALETTE, QUIET, SETTINGS, WIDTH, new_figure, short

from .choice import region_angles
from .plane import PlanePoints
from .run import InsideRun

# Names of classes are no formulas, whatever signs they hold.
# Black is the rim of what was trained on, and yellow is faint: they come last.
CLASS_COLOURS = (
    *(PALETTE[name] for name in ("blue", "orange", "bluish green", "reddish purple", "vermilion", "sky blue")),
    *(PALETTE["yellow"], PALETTE["black"]),
)
FAINT = "#d4d4d4"
CORNER_KINDS = 5
"""Kinds of points that `region_figure` draws."""
BINS = 30
SIZE_MARGIN = 0.5
"""Degrees that a histogram reaches beyond the smallest and the largest region."""


@mpl.rc_context(SETTINGS)
def embedding_figure(run: InsideRun, points: PlanePoints, labels: Sequence[int]) -> Figure:
    """Real embeddings, coloured by class; a marker for each test domain, and a dark rim for what was trained on."""
    figure, axes = _plane(points)
    names, sources = run.embeddings.domain_names, run.embeddings.source_domains
    kinds = []
    for number, domain in enumerate(run.embeddings.test.domain.unique().tolist()):
        marker = MARKERS[number % len(MARKERS)]
        mask = points.test_domain == domain
        colours = _colours(points.test_label[mask], labels)
        _scatter(axes, points.test[mask], c=colours, marker=marker, s=10, linewidths=0, alpha=0.75)
        role = "source" if names[domain] in sources else "target"
        kinds.append(_entry(f"test, {short(names[domain])} ({role})", marker))
    kinds.append(_draw_trained_on(axes, points, labels))
    _add_legend(figure, run, labels, kinds)
    return figure


@mpl.rc_context(SETTINGS)
def region_figure(run: InsideRun, points: PlanePoints, labels: Sequence[int]) -> Figure:
    """Training embeddings, the corners of their regions and samples from them, with the test embeddings in grey."""
    figure, axes = _plane(points)
    _scatter(axes, points.test, c=FAINT, marker="o", s=5, linewidths=0)
    _scatter(axes, points.samples, c=_colours(points.samples_label, labels), marker="o", s=4, linewidths=0)
    kinds = [_entry("test, all domains", "o", colour=FAINT), _entry("regional sample", "o", size=2)]
    for name, place, marker in (("lower corner", points.lower, "v"), ("upper corner", points.upper, "^")):
        rims = _colours(points.corner_label, labels)
        _scatter(axes, place, facecolors="none", edgecolors=rims, marker=marker, s=18, linewidths=0.7)
        kinds.append(_entry(name, marker, hollow=True))
    kinds.append(_draw_trained_on(axes, points, labels))
    _add_legend(figure, run, labels, kinds)
    return figure


@mpl.rc_context(SETTINGS)
def size_figure(run: InsideRun, labels: Sequence[int]) -> Figure:
    """Histograms of the angle between the corners of each region: one of all classes, and one of each of some."""
    angles = region_angles(run.regions)
    low, high = float(angles.min()) - SIZE_MARGIN, float(angles.max()) + SIZE_MARGIN
    groups = [("all classes", QUIET, angles)]
    for label, colour in zip(labels, CLASS_COLOURS, strict=False):
        groups.append((run.embeddings.classnames[label], colour, angles[run.embeddings.train.label == label]))
    figure = Figure(figsize=(WIDTH, 0.7 + 0.65 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, colour, values) in zip(panels, groups, strict=True):
        axes.hist(values.numpy(), bins=np.linspace(low, high, BINS + 1).tolist(), color=colour)
        axes.axvline(float(values.mean()), color="black", linewidth=0.8, linestyle="--")
        axes.set_title(f"{name}, n = {len(values)}", loc="left")
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=2)
    panels[-1].set_xlabel("angle between the corners, degrees")
    figure.supylabel("number of regions", fontsize=SETTINGS["font.size"])
    return figure


def _plane(points: PlanePoints) -> tuple[Figure, Axes]:
    """Axes of the plane, with the same limits for whatever is drawn of the same points."""
    figure, axes = new_figure(height=4.2)
    every = torch.cat([points.train, points.test, points.lower, points.upper, points.samples])
    low, high = every.amin(dim=0), every.amax(dim=0)
    margin = 0.04 * (high - low)
    axes.set_xlim(*(float(end[0]) for end in (low - margin, high + margin)))
    axes.set_ylim(*(float(end[1]) for end in (low - margin, high + margin)))
    titles = [f"principal axis {axis} ({100 * points.projection.share[axis - 1]:.0f} % of variance)" for axis in (1, 2)]
    axes.set(xlabel=titles[0], ylabel=titles[1])
    return figure, axes


def _scatter(axes: Axes, place: Tensor, **style: Any) -> None:
    axes.scatter(place[:, 0].numpy(), place[:, 1].numpy(), **style)


def _colours(label: Tensor, labels: Sequence[int]) -> list[str]:
    return [CLASS_COLOURS[labels.index(number)] for number in label.tolist()]


def _draw_trained_on(axes: Axes, points: PlanePoints, labels: Sequence[int]) -> Line2D:
    colours = _colours(points.train_label, labels)
    _scatter(axes, points.train, c=colours, marker="o", s=14, linewidths=0.7, edgecolors="black")
    return Line2D([], [], linestyle="none", marker="o", color="white", markeredgecolor="black", label="trained on")


def _entry(name: str, marker: str, *, colour: str = QUIET, size: float = 4, hollow: bool = False) -> Line2D:
    look: dict[str, Any] = {"color": "none" if hollow else colour, "markeredgecolor": colour if hollow else "none"}
    return Line2D([], [], linestyle="none", marker=marker, markersize=size, label=name, **look)


def _add_legend(figure: Figure, run: InsideRun, labels: Sequence[int], kinds: list[Line2D]) -> None:
    """Classes in the first column of the legend, kinds of points in the second; as many lines in both planes."""
    names = [short(run.embeddings.classnames[label]) for label in labels]
    classes = [_entry(name, "s", colour=colour) for name, colour in zip(names, CLASS_COLOURS, strict=False)]
    blank = [Line2D([], [], linestyle="none", label=" ")]
    longest = max(len(classes), len(run.embeddings.domain_names) + 1, CORNER_KINDS)
    columns = [column + blank * (longest - len(column)) for column in (classes, kinds)]
    figure.legend(handles=columns[0] + columns[1], ncols=2, loc="outside lower center")
