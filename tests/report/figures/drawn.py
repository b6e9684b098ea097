"""What figures are drawn of in tests, and what is read off their axes."""

from __future__ import annotations

import torch

from lare_dassl.report.runs.summary import cells
from lare_dassl.results.predictions import Predictions
from tests.report.making import predictions, record


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


def hollow_points(axes):
    return [
        (line.get_marker(), float(x), float(y))
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() == "white"
        for x, y in line.get_xydata()
    ]


def gain_pair():
    label = [0, 0, 1, 1]
    method = [predictions(label, [0, 0, 1, 2]), predictions(label, [0, 0, 0, 0])]
    return method, [predictions(label, [0, 1, 1, 1]), predictions(label, [1, 1, 1, 1])]


def many_rows():
    generator = torch.Generator().manual_seed(4)
    confidence = torch.rand(500, generator=generator)
    confidence[:3] = torch.tensor([0.0, 0.25, 1.0])
    label = torch.zeros(500, dtype=torch.int64)
    predicted = (torch.rand(500, generator=generator) > confidence).long()
    return Predictions(label, label, predicted, confidence, ("cat", "dog"), ("photo",))
