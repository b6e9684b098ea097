from __future__ import annotations

import io
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from lare_dassl.report.figures.curves import few_shot_curves, imbalance_curves
from lare_dassl.report.figures.predictions import (
    class_gain,
    reliability_diagram,
)
from lare_dassl.report.figures.scatter import domain_scatter
from lare_dassl.report.figures.style import PALETTE, method_style, save
from lare_dassl.report.runs.summary import cells
from lare_dassl.results.predictions import Predictions
from lare_dassl.trainers.base.description import LAST, in_reports
from tests.report.figures.drawn import curve_cells, gain_pair, lines_by_label, many_rows
from tests.report.making import record

METHODS = [method.name for method in in_reports().values() if method.place < LAST]


def test_no_variant_is_drawn_hollow():
    assert "none" not in {method_style("LARE", variant).filling for variant in range(20)}


def test_a_method_looks_the_same_in_all_figures():
    frame = curve_cells()
    tailed = cells([record("LARE", 0, imbalance=ratio) for ratio in (1.0, 10.0)])
    alone = frame[frame["trainer"] == "LARE"]
    figures = [few_shot_curves(frame), few_shot_curves(alone), domain_scatter(frame), imbalance_curves(tailed)]
    looks = {(line.get_color(), line.get_marker()) for line in (lines_by_label(f.axes[0])["LARE"] for f in figures)}
    assert looks == {(method_style("LARE").colour, method_style("LARE").marker)}


def test_methods_are_told_apart_by_colour_marker_and_line():
    styles = [method_style(name) for name in METHODS]
    assert len({style.marker for style in styles}) == len({(style.colour, style.line) for style in styles}) == 13
    assert {style.colour for style in styles} <= set(PALETTE.values())
    assert all(first.colour != second.colour for first, second in pairwise(styles))
    assert method_style("SomethingElse") not in styles
    assert len({method_style(name).colour for name in METHODS[:4]}) == 4
    assert method_style("SomethingElse") == method_style("SomethingElse")


def test_variants_of_a_method_look_different():
    assert len({(style.colour, style.filling) for style in (method_style("LARE", n) for n in range(15))}) == 15


def test_figures_have_the_width_of_a_column_and_letters_that_can_be_read():
    for figure in (few_shot_curves(curve_cells()), domain_scatter(curve_cells()), class_gain(*gain_pair())):
        assert isinstance(figure, Figure)
        assert figure.get_figwidth() * 25.4 == pytest.approx(85, abs=0.2)
        axes = figure.axes[0]
        assert axes.xaxis.label.get_fontsize() == 8
        assert min(label.get_fontsize() for label in axes.get_xticklabels() + axes.get_yticklabels()) >= 7


LONG = {"TRAINER.LARE.SAMPLES_PER_IMAGE": 16, "CLASSIFIER.INIT": "text", "VLM.TEMPLATES": "a photo of a {}, in winter"}


@pytest.mark.parametrize("draw", [few_shot_curves, domain_scatter, "gain", "reliability"])
def test_long_names_are_not_cut_off(draw):
    records = [record("LARE", 0, shots=n, settings=own) for n in (1, 4) for own in (dict.fromkeys(LONG, 1), LONG)]
    name = cells(records)["method"].iloc[1]
    assert len(name) > 70
    if draw == "gain":
        label = torch.arange(2).repeat(2)
        rows = [
            Predictions(
                label, label * 0, label, torch.ones(4), ("white-throated sparrow of the north", "cat"), ("photo",)
            )
        ]
        figure = class_gain(rows, rows, names=(name, name))
    elif draw == "reliability":
        figure = reliability_diagram(many_rows(), name)
    else:
        figure = draw(cells(records))
    figure.savefig(io.BytesIO(), format="png")
    drawn = figure.get_tightbbox()
    assert min(drawn.x0, drawn.y0) >= 0
    assert (drawn.x1, drawn.y1) <= tuple(figure.get_size_inches()) and drawn.y1 <= figure.get_figheight()


@pytest.mark.parametrize("accuracy", [0.0, 100.0])
def test_no_mark_lies_on_the_frame(accuracy):
    records = [record("LARE", 0, accuracy, shots=n, out_of_domain_accuracy=accuracy) for n in (1, 4)]
    for figure in (few_shot_curves(cells(records)), domain_scatter(cells(records))):
        axes = figure.axes[0]
        points = np.concatenate([axes.transData.transform(lines_by_label(axes)["LARE"].get_xydata())])
        box = axes.get_window_extent()
        assert (points > [box.x0 + 3, box.y0 + 3]).all() and (points < [box.x1 - 3, box.y1 - 3]).all()
    ticks = domain_scatter(cells(records)).axes[0].get_xticks()
    assert min(ticks) >= 0 and max(ticks) <= 100


def test_files_are_png_of_200_dpi_and_svg_of_the_same_bytes_each_time(tmp_path):
    for name in ("a.b", "again"):
        paths = save(few_shot_curves(curve_cells()), tmp_path / "figures" / name)
        assert [path.name for path in paths] == [f"{name}.png", f"{name}.svg"]
    with Image.open(tmp_path / "figures" / "a.b.png") as image:
        assert image.size[0] == 670
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    texts = [(tmp_path / "figures" / f"{name}.svg").read_bytes() for name in ("a.b", "again")]
    assert texts[0] == texts[1]
    assert not re.search(rb"<dc:date>|matplotlib v", texts[0])
    assert b"out-of-domain accuracy (%)" in texts[0]
    assert len(list((tmp_path / "figures").iterdir())) == 4
