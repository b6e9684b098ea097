from __future__ import annotations

import math

import numpy as np
import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.figures.curves import few_shot_curves, imbalance_curves
from lare_dassl.report.figures.scatter import domain_scatter
from lare_dassl.report.figures.style import method_style
from lare_dassl.report.runs.summary import cells
from lare_dassl.trainers.base.description import LAST, in_reports
from tests.report.figures.drawn import curve_cells, hollow_points, lines_by_label, tick_labels
from tests.report.making import changed, record

SAMPLES = "TRAINER.LARE.SAMPLES_PER_IMAGE"
METHODS = [method.name for method in in_reports().values() if method.place < LAST]


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


def test_variants_of_a_method_differ_in_line_and_filling_alone():
    records = [record("LARE", 0, shots=shots, settings={SAMPLES: n}) for shots in (1, 4) for n in (16, 4)]
    lines = lines_by_label(few_shot_curves(cells(records)).axes[0])
    first, second = lines["LARE (SAMPLES_PER_IMAGE=4)"], lines["LARE (SAMPLES_PER_IMAGE=16)"]
    assert (first.get_color(), first.get_marker()) == (second.get_color(), second.get_marker())
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_fillstyle() != second.get_fillstyle()


def test_equal_points_of_many_methods_stand_side_by_side():
    records = [record(trainer, seed, shots=n) for trainer in METHODS for n in (1, 4) for seed in (0, 1)]
    axes = few_shot_curves(cells(records)).axes[0]
    first = sorted(float(line.get_xdata()[0]) for line in lines_by_label(axes).values())
    assert np.diff(first) == pytest.approx([0.8 / 13] * 12) and max(map(abs, first)) < 0.4
    # As many bands would hide each other: there are bars.
    assert [type(part).__name__ for part in axes.collections] == ["LineCollection"] * 13
