from __future__ import annotations

import pytest
import torch
from torch import nn

from lare_dassl.methods.shared.averaging import average, choose_weight
from lare_dassl.methods.shared.linear import random_classifier, text_classifier


def layer(weight, bias):
    made = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight))
        made.bias.copy_(torch.tensor(bias))
    return made


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_each_number_is_averaged(weight):
    trained = random_classifier(4, 3, seed=0)
    zero_shot = text_classifier(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), 50.0)
    averaged = average(trained, zero_shot, weight)
    for row in range(3):
        for column in range(4):
            expected = (1 - weight) * zero_shot.weight[row, column] + weight * trained.weight[row, column]
            torch.testing.assert_close(averaged.weight[row, column], expected)
        torch.testing.assert_close(averaged.bias[row], weight * trained.bias[row])


def test_the_ends_are_the_classifiers_to_the_last_bit():
    trained, other = random_classifier(16, 5, seed=0), random_classifier(16, 5, seed=1)
    for weight, end in ((1.0, trained), (0.0, other)):
        averaged = average(trained, other, weight)
        assert torch.equal(averaged.weight, end.weight) and torch.equal(averaged.bias, end.bias)


def test_the_classifiers_stay_as_they_are():
    trained, other = random_classifier(4, 3, seed=0), random_classifier(4, 3, seed=1)
    average(trained, other, 0.5)
    assert torch.equal(trained.weight, random_classifier(4, 3, seed=0).weight)
    assert torch.equal(other.weight, random_classifier(4, 3, seed=1).weight)


# Two classes on a line: the trained one says class 1 above 1, the zero-shot one above 0, an average above its weight.
TRAINED, ZERO_SHOT = layer([[0.0], [1.0]], [0.0, -1.0]), layer([[0.0], [1.0]], [0.0, 0.0])


@pytest.mark.parametrize(
    ("border", "expected"), [(-0.35, 0.0), (0.05, 0.1), (0.35, 0.4), (0.65, 0.7), (0.95, 1.0), (1.25, 1.0)]
)
def test_the_weight_that_gets_the_most_rows_right_is_chosen(border, expected):
    """Rows every 0.1, those above the border of class 1."""
    rows = torch.arange(-9, 20)[:, None] / 10 + 0.05
    label = (rows[:, 0] > border + 0.01).long()
    correct = {
        step / 10: sum((x > step / 10) == bool(y) for x, y in zip(rows, label, strict=True)) for step in range(11)
    }
    assert max(correct, key=lambda weight: int(correct[weight])) == expected
    assert choose(rows, label) == expected


def choose(rows, label):
    return choose_weight(TRAINED, ZERO_SHOT, rows, label)


def test_of_equally_good_weights_the_greatest_is_chosen():
    rows = torch.tensor([[-1.0], [0.45], [2.0]])
    assert choose(rows, torch.tensor([0, 0, 1])) == 1.0
    assert choose(rows, torch.tensor([0, 1, 1])) == 0.4


def test_an_average_lies_where_the_classifiers_do():
    averaged = average(nn.Linear(4, 3, device="meta"), nn.Linear(4, 3, device="meta"), 0.5)
    assert {parameter.device.type for parameter in averaged.parameters()} == {"meta"}
