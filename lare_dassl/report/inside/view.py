"""The page's section on one run of LARE: figures, the reach of its regional samples, and pictures of some rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lare_dassl.embeddings.encoder.image_files import read_rgb
from lare_dassl.errors import InputError
from lare_dassl.report.figures.drawings import Drawing
from lare_dassl.report.runs.report_table import ReportTable

from .choice import chosen_classes, region_angles
from .figures import embedding_figure, region_figure, size_figure
from .plane import DRAWN_REGIONS, plane_points
from .reach import Example, Reach, examples, reach_of
from .run import InsideRun

THUMBNAIL_SIDE = 160
REACHING_SAMPLES = 64
"""Regional samples drawn of each image whose pictures are shown."""


@dataclass(frozen=True)
class Picture:
    """An image of the data set, or the number of its row where there is no image.

    Attributes:
        name: path or row number.
        uri: of the downscaled image; "" where there is none.
        domain, class_name: of the image.
        remark: further line below it.
        is_other_class: True if it is of another class than the image that it was found for.
    """

    name: str
    uri: str
    domain: str
    class_name: str
    remark: str
    is_other_class: bool


@dataclass(frozen=True)
class ExampleView:
    """One training image, the real picture nearest to it, and those nearest to its regional samples."""

    title: str
    text: str
    own: Picture
    nearest: Picture
    reached: list[Picture]


@dataclass(frozen=True)
class InsideView:
    """All that is shown of one run."""

    summary: str
    drawings: list[Drawing]
    reach: ReportTable
    examples_text: str
    examples: list[ExampleView]


def look_inside(run: InsideRun, name: str, wanted: Sequence[str] = ()) -> InsideView:
    """The view of a run.

    Args:
        run: see InsideRun.
        name: what to call it.
        wanted: names of the classes to show; some spread evenly where none is named.

    Raises:
        InputError: an unknown class, or too many classes.
    """
    labels = chosen_classes(run.embeddings.classnames, wanted)
    return InsideView(
        summary=_summary(run, name),
        drawings=_drawings(run, labels),
        reach=_reach_table(reach_of(run)),
        examples_text=_examples_text(run),
        examples=[_example_view(run, example) for example in examples(run, labels, REACHING_SAMPLES)],
    )


def _summary(run: InsideRun, name: str) -> str:
    count, test = len(run.embeddings.train), len(run.embeddings.test)
    return (
        f"The run {name} (seed {run.seed}) has a region for each of its {count:,} training embeddings. They "
        f"are set beside the {test:,} test embeddings, which played no part in the training and choose nothing here."
    )


def _drawings(run: InsideRun, labels: Sequence[int]) -> list[Drawing]:
    points = plane_points(run, labels)
    names = ", ".join(run.embeddings.classnames[label] for label in labels)
    plane = f"the plane of the two principal axes of the real embeddings of {len(labels)} classes ({names})"
    embeddings = Drawing(
        "inside_embeddings",
        f"Real embeddings in {plane}. Colours are classes, markers domains.",
        f"Scatter of real embeddings in {plane}: {len(points.train)} trained on, {len(points.test)} tested on.",
        embedding_figure(run, points, labels),
    )
    regions = Drawing(
        "inside_regions",
        f"The same plane with samples drawn uniformly inside the regions, and the corners of at most {DRAWN_REGIONS} "
        f"regions of each class, scaled to unit length as the losses take them. {_why_close(run)}",
        f"Scatter of region corners and {len(points.samples)} regional samples in {plane}.",
        region_figure(run, points, labels),
    )
    return [embeddings, regions, _size_drawing(run, labels, names)]


def _why_close(run: InsideRun) -> str:
    """Why corners look close to each other whose angle is wide."""
    angle, width = float(region_angles(run.regions).mean()), run.regions.lower.shape[1]
    return (
        f"The two corners of a region lie nearer to each other here than the mean angle of {angle:.0f}° between them "
        f"suggests: the plane shows two of {width:,} axes, and these are the axes along which the real embeddings, not "
        "the corners, spread most."
    )


def _size_drawing(run: InsideRun, labels: Sequence[int], names: str) -> Drawing:
    angles = region_angles(run.regions)
    spread = f"{float(angles.min()):.1f}° to {float(angles.max()):.1f}°, mean {float(angles.mean()):.1f}°"
    return Drawing(
        "inside_sizes",
        "Size of the regions, as the angle between their corners: 0° is a point, and a wider angle is a lower box "
        "volume loss (equation 1 of the LARE paper). The line is the mean.",
        f"Histograms of the angle between the corners of all regions ({spread}) and of those of {names}.",
        size_figure(run, labels),
    )


def _reach_table(reach: Reach) -> ReportTable:
    return ReportTable(
        title="Of which domain is the nearest test picture?",
        columns=("domain", "test pictures, %", "nearest to a training embedding, %", "nearest to a regional sample, %"),
        rows=tuple((name, *map("{:.1f}".format, shares)) for name, shares in reach.by_domain.items()),
        notes=(
            f"Of {reach.rows:,} training images and one regional sample of each; nearest by cosine.",
            "The nearest test picture is of the training image's own class for "
            f"{reach.same_class_real:.1f} % of the training embeddings, and for "
            f"{reach.same_class_sample:.1f} % of the regional samples.",
        ),
    )


def _examples_text(run: InsideRun) -> str:
    text = (
        "In this order: the first training image of a class; the test picture nearest to it; and those nearest to "
        f"{REACHING_SAMPLES} samples from its region, which are what the augmentation stands for. The share says "
        "to how many of the samples a picture is the nearest."
    )
    if run.test.pictures is None:
        text += " The run is on an embedding file, which holds no pictures: row numbers stand for them."
    return text


def _example_view(run: InsideRun, example: Example) -> ExampleView:
    label = int(run.embeddings.train.label[example.row])
    own = _picture(run, "train", example.row, label, "trained on")
    return ExampleView(
        title=f"{own.class_name}: {own.name}",
        text=f"The samples have {example.rows_reached} different nearest test pictures.",
        own=own,
        nearest=_picture(run, "test", example.nearest, label, "nearest to it"),
        reached=[
            _picture(run, "test", found.row, label, f"{found.share:.0f} % of samples") for found in example.reached
        ],
    )


def _picture(run: InsideRun, split: str, row: int, label: int, remark: str) -> Picture:
    """The picture of a row of a split, for an image of the class `label`."""
    shown, rows = {"train": run.train, "test": run.test}[split], run.embeddings.splits()[split]
    uri = ""
    if shown.pictures:
        try:
            uri = data_uri(shown.pictures[row])
        except InputError:
            remark += " (the picture cannot be read)"
    return Picture(
        name=shown.names[row],
        uri=uri,
        domain=run.embeddings.domain_names[int(rows.domain[row])],
        class_name=run.embeddings.classnames[int(rows.label[row])],
        remark=remark,
        is_other_class=int(rows.label[row]) != label,
    )


def data_uri(path: Path, side: int = THUMBNAIL_SIDE) -> str:
    """An image as a JPEG inside a URI, scaled down to at most `side` pixels.

    Raises:
        InputError: the file cannot be read.
    """
    content = io.BytesIO()
    small = read_rgb(path)
    small.thumbnail((side, side))
    small.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
