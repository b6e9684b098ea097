from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lare_dassl.errors import InputError
from lare_dassl.report.figures.predictions import (
    MOST_NAMED,
    bins_of_few_rows,
    class_gain,
    class_gains,
    reliability,
    reliability_diagram,
)
from lare_dassl.report.figures.style import PALETTE
from lare_dassl.results.metrics import expected_calibration_error
from lare_dassl.results.predictions import Predictions
from tests.report.figures.drawn import gain_pair, lines_by_label, many_rows, tick_labels
from tests.report.making import predictions


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
