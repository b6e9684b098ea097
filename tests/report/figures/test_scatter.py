from __future__ import annotations

import math

import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.figures.scatter import domain_scatter
from lare_dassl.report.runs.summary import cells
from tests.report.figures.drawn import curve_cells, lines_by_label
from tests.report.making import record


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


def test_the_scatter_needs_both_accuracies():
    with pytest.raises(InputError, match="both in-domain and out-of-domain"):
        domain_scatter(cells([record("LARE", 0, out_of_domain_accuracy=None)]))
