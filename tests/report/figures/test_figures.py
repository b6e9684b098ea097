from __future__ import annotations

import io
import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from lare_dassl.errors import InputError
from lare_dassl.report.figures.figures import (
    PALETTE,
    domain_scatter,
    few_shot_curves,
    imbalance_curves,
    method_style,
    save,
)
from lare_dassl.report.figures.predictions import (
    MOST_NAMED,
    bins_of_few_rows,
    class_gain,
    class_gains,
    reliability,
    reliability_diagram,
)
from lare_dassl.report.runs.summary import cells
from lare_dassl.results.metrics import expected_calibration_error
from lare_dassl.results.predictions import Predictions
from lare_dassl.trainers.base.description import LAST, in_reports
from tests.report.making import changed, predictions, record

SAMPLES = "TRAINER.LARE.SAMPLES_PER_IMAGE"

METHODS = [method.name for method in in_reports().values() if method.place < LAST]


def curve_cells(**changes):
    values = {1: (50.0, 52.0), 4: (60.0, 64.0), -1: (70.0, 70.0)}
    records = [
        record(trainer, seed, value + gain, shots=shots, **changes)
        for trainer, gain in (("FineTune", 0.0), ("LARE", 5.0))
        for shots, of_cell in values.items()
        for seed, value in enumerate(of_cell)
    ]
    return cells([*records, record("LARE", 0, 5.0, shots=1, imbalance=10.0)], records)


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_few_shot_curves_show_means_with_bands_of_std():
    figure = few_shot_curves(curve_cells(), "in_domain_accuracy")
    axes = figure.axes[0]
    lines = lines_by_label(axes)
    assert list(lines) == ["FineTune", "LARE"]
    # Binary logarithms of the shots; all images stand one step behind the last.
    # The two methods stand beside each other at each of them.
    assert lines["FineTune"].get_xdata().tolist() == pytest.approx([-0.03, 1.97, 2.97])
    assert lines["LARE"].get_xdata().tolist() == pytest.approx([0.03, 2.03, 3.03])
    assert lines["LARE"].get_ydata().tolist() == [56.0, 67.0, 75.0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training images per class", "in-domain accuracy (%)")
    assert axes.get_xticks().tolist() == [0.0, 2.0, 3.0]
    assert tick_labels(axes.xaxis) == ["1", "4", "all"]
    band = axes.collections[1].get_paths()[0].vertices
    at_four = sorted({round(float(y), 9) for x, y in band if x == pytest.approx(2.03)})
    assert at_four == [round(67.0 - math.sqrt(8), 9), round(67.0 + math.sqrt(8), 9)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["FineTune", "LARE"]


def test_imbalance_stands_on_a_logarithmic_axis():
    records = [record("LARE", 0, 80.0 - ratio / 10, imbalance=ratio) for ratio in (1.0, 10.0, 100.0)]
    axes = imbalance_curves(cells([*records, record("LARE", 0, 5.0, shots=1)], records)).axes[0]
    line = lines_by_label(axes)["LARE"]
    assert line.get_xdata() == pytest.approx([0.0, math.log2(10), math.log2(100)], rel=1e-12)
    assert line.get_ydata() == pytest.approx([79.9, 79.0, 70.0], rel=1e-12)
    assert tick_labels(axes.xaxis) == ["1", "10", "100"]
    assert axes.get_xlabel() == "imbalance ratio (largest class : smallest class)"
    assert axes.get_ylabel() == "in-domain accuracy (%)"


@pytest.mark.parametrize("draw", [few_shot_curves, imbalance_curves])
def test_a_curve_needs_two_points_of_one_dataset(draw):
    with pytest.raises(InputError, match="needs runs at two values of"):
        draw(cells([record("LARE", 0)]))
    with pytest.raises(InputError, match="of one dataset, not of A, B"):
        draw(cells([record("LARE", 0, dataset=name) for name in "AB"]))


def test_the_scatter_has_the_line_of_equal_accuracies_and_equal_limits():
    figure = domain_scatter(curve_cells())
    axes = figure.axes[0]
    lines = lines_by_label(axes)
    assert lines["FineTune"].get_xdata().tolist() == [51.0, 62.0, 70.0]
    assert lines["FineTune"].get_ydata().tolist() == [41.0, 52.0, 60.0]
    assert list(lines["y = x"].get_xdata()) == list(lines["y = x"].get_ydata()) == list(axes.get_xlim())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < 41.0 and axes.get_xlim()[1] > 75.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("in-domain accuracy (%)", "out-of-domain accuracy (%)")
    assert figure.legends[0].get_title().get_text() == "larger mark: most images per class"


def test_the_scatter_has_bars_of_both_accuracies_at_the_least_imbalance():
    values = ((60.0, 40.0), (64.0, 41.0))
    records = [record("LARE", seed, own, out_of_domain_accuracy=other) for seed, (own, other) in enumerate(values)]
    records.append(record("LARE", 0, 5.0, imbalance=10.0))
    axes = domain_scatter(cells(records, records)).axes[0]
    line = lines_by_label(axes)["LARE"]
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([62.0], [40.5])
    bars = [bar.get_segments()[0] for bar in axes.collections]
    across, upright = ((bar[1] - bar[0]).tolist() for bar in bars)
    assert across == pytest.approx([2 * math.sqrt(8), 0.0], abs=1e-9)
    assert upright == pytest.approx([0.0, 2 * math.sqrt(0.5)], abs=1e-9)


def hollow_points(axes):
    return [
        (line.get_marker(), float(x), float(y))
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() == "white"
        for x, y in line.get_xydata()
    ]


def test_points_of_fewer_seeds_than_expected_are_hollow():
    planned = [record("LARE", seed, 60.0 + shots, shots=shots) for shots in (1, 4, 16) for seed in (0, 1)]
    planned += [record("FineTune", seed, 50.0, shots=shots) for shots in (1, 4) for seed in (0, 1)]
    frame = cells(planned, planned)
    assert not hollow_points(few_shot_curves(frame).axes[0]) and not hollow_points(domain_scatter(frame).axes[0])
    frame = cells([*planned[:3], planned[4], *planned[6:]], planned)
    marker = method_style("LARE").marker
    curve = hollow_points(few_shot_curves(frame, "in_domain_accuracy").axes[0])
    assert curve == [(marker, pytest.approx(2.06), 64.0), (marker, pytest.approx(4.06), 76.0)]
    # The mark of the most images is drawn once more, larger.
    scatter = hollow_points(domain_scatter(frame).axes[0])
    assert scatter == [(marker, 64.0, 54.0), (marker, 76.0, 66.0), (marker, 76.0, 66.0)]
    # A metric that a run lacks is a seed that is missing.
    planned[0] = changed(planned[0], in_domain_accuracy=None)
    curve = few_shot_curves(cells(planned, planned), "in_domain_accuracy").axes[0]
    assert hollow_points(curve) == [(marker, pytest.approx(0.06), 61.0)]


def test_no_variant_is_drawn_hollow():
    assert "none" not in {method_style("LARE", variant).filling for variant in range(20)}


def test_the_scatter_needs_both_accuracies():
    with pytest.raises(InputError, match="both in-domain and out-of-domain"):
        domain_scatter(cells([record("LARE", 0, out_of_domain_accuracy=None)]))


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


def test_variants_of_a_method_differ_in_line_and_filling_alone():
    records = [record("LARE", 0, shots=shots, settings={SAMPLES: n}) for shots in (1, 4) for n in (16, 4)]
    lines = lines_by_label(few_shot_curves(cells(records)).axes[0])
    first, second = lines["LARE (SAMPLES_PER_IMAGE=4)"], lines["LARE (SAMPLES_PER_IMAGE=16)"]
    assert (first.get_color(), first.get_marker()) == (second.get_color(), second.get_marker())
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_fillstyle() != second.get_fillstyle()


def gain_pair():
    label = [0, 0, 1, 1]
    method = [predictions(label, [0, 0, 1, 2]), predictions(label, [0, 0, 0, 0])]
    return method, [predictions(label, [0, 1, 1, 1]), predictions(label, [1, 1, 1, 1])]


def test_gains_by_class_are_means_over_the_seeds():
    # cat: 1 of 2 more, then 2 of 2; dog: 1 of 2 less, then 2 of 2; owl has no rows.
    assert class_gains(*gain_pair()) == {"cat": 75.0, "dog": -75.0}


def test_the_figure_of_gains_goes_from_the_largest_loss_to_the_largest_gain():
    figure = class_gain(*gain_pair(), names=("LARE (A=1)", "FineTune"))
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [-75.0, 75.0]
    assert tick_labels(axes.yaxis) == ["dog", "cat"]
    assert axes.get_xlabel() == "gain (percentage points)"
    assert figure.get_suptitle() == "LARE (A=1) against FineTune\nbetter in 1, worse in 1 of 2 classes"


def test_of_many_classes_the_two_ends_are_named():
    count = MOST_NAMED + 1
    label, names = torch.arange(count), tuple(f"class{i}" for i in range(count))
    first, second = label.clone(), label.clone()
    first[3], second[7] = 0, 0
    rows = [Predictions(label, label * 0, p, torch.ones(count), names, ("photo",)) for p in (first, second)]
    axes = class_gain(rows[:1], rows[1:]).axes[0]
    assert [axes.patches[place].get_height() for place in (0, 1, -1)] == [-100.0, 0.0, 100.0]
    assert axes.get_xlabel() == "classes, from class3 (−100.0)\nto class7 (+100.0)"
    assert axes.get_ylabel() == "gain (percentage points)"


def test_gains_need_the_same_rows():
    method, baseline = gain_pair()
    with pytest.raises(InputError, match="2 against 1 runs"):
        class_gains(method, baseline[:1])
    with pytest.raises(InputError, match="same test rows"):
        class_gains(method[:1], [predictions([0, 1, 1, 1], [0, 1, 1, 1])])


def many_rows():
    generator = torch.Generator().manual_seed(4)
    confidence = torch.rand(500, generator=generator)
    confidence[:3] = torch.tensor([0.0, 0.25, 1.0])
    label = torch.zeros(500, dtype=torch.int64)
    predicted = (torch.rand(500, generator=generator) > confidence).long()
    return Predictions(label, label, predicted, confidence, ("cat", "dog"), ("photo",))


@pytest.mark.parametrize("bins", [4, 15])
def test_reliability_equals_a_loop_over_bins_and_gives_the_calibration_error(bins):
    rows = many_rows()
    confidence, accuracy, share = reliability(rows, bins)
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        values = enumerate(rows.confidence.tolist())
        inside = [row for row, value in values if low < value <= high or (index == 0 and value == 0)]
        assert share[index] == pytest.approx(100 * len(inside) / 500, abs=1e-9)
        hits = [bool(rows.correct[row]) for row in inside]
        assert accuracy[index] == pytest.approx(100 * sum(hits) / len(hits), abs=1e-9)
        assert confidence[index] == pytest.approx(
            100 * np.mean([float(rows.confidence[row]) for row in inside]), abs=1e-6
        )
    error = float(np.sum(share * np.abs(accuracy - confidence)) / 100)
    assert error == pytest.approx(expected_calibration_error(rows.confidence, rows.correct, bins), abs=1e-6)


def test_the_reliability_diagram_states_the_calibration_error():
    rows = many_rows()
    figure = reliability_diagram(rows, "LARE")
    axes, below = figure.axes
    error = expected_calibration_error(rows.confidence, rows.correct)
    assert figure.get_suptitle() == f"LARE\ncalibration error (ECE) {error:.1f} %"
    assert len(axes.patches) == len(below.patches) == 15
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(reliability(rows)[1].tolist())
    labels = (below.get_xlabel(), axes.get_ylabel(), below.get_ylabel())
    assert labels == ("confidence (%)", "accuracy (%)", "share of\nimages (%)")
    # The legend stands below the axes, and no mark on their frame.
    assert axes.get_legend() is None and len(figure.legends) == 1
    assert all(low < 0 and high > 100 for low, high in (axes.get_xlim(), axes.get_ylim()))


def test_bins_of_few_images_are_hollow():
    # Of 1000 rows: 9 and 10 in the lowest bins (less than 1 %, and 1 %), the rest in the highest.
    confidence = [0.05] * 9 + [0.1] * 10 + [0.95] * 981
    figure = reliability_diagram(predictions([0] * 1000, [0] * 1000, confidence))
    axes = figure.axes[0]
    full = [bar.get_x() for bar in axes.patches if to_hex(bar.get_facecolor()).upper() == PALETTE["sky blue"]]
    hollow = [bar.get_x() for bar in axes.patches if to_hex(bar.get_facecolor()) == "#ffffff"]
    assert (full, hollow) == (pytest.approx([100 / 15, 1400 / 15]), [0.0])
    lines = lines_by_label(axes)
    assert lines["bin of few images"].get_xdata() == pytest.approx([5.0])
    assert lines["mean of a bin"].get_xdata() == pytest.approx([10.0, 95.0])
    assert bins_of_few_rows(np.array([0.0, 9.0, 91.0]), 100).tolist() == [False, True, False]


def test_empty_bins_are_left_empty():
    confidence, accuracy, share = reliability(predictions([0, 1], [0, 0], [0.9, 0.95]), bins=4)
    assert share.tolist() == [0.0, 0.0, 0.0, 100.0]
    assert np.isnan(accuracy[:3]).all() and np.isnan(confidence[:3]).all()
    assert accuracy[3] == 50.0


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


def test_equal_points_of_many_methods_stand_side_by_side():
    records = [record(trainer, seed, shots=n) for trainer in METHODS for n in (1, 4) for seed in (0, 1)]
    axes = few_shot_curves(cells(records)).axes[0]
    first = sorted(float(line.get_xdata()[0]) for line in lines_by_label(axes).values())
    assert np.diff(first) == pytest.approx([0.8 / 13] * 12) and max(map(abs, first)) < 0.4
    # As many bands would hide each other: there are bars.
    assert [type(part).__name__ for part in axes.collections] == ["LineCollection"] * 13


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
