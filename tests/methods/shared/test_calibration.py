from __future__ import annotations

import math

import pytest
import torch

from lare_dassl.methods.shared.calibration import HIGHEST, fit_temperature


def drawn(rows, classes, temperature, seed=0):
    """Logits, and labels that are drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, classes, generator=generator)
    label = torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, label


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_it_recovers_the_temperature_that_labels_were_drawn_with(temperature):
    logits, label = drawn(40_000, 6, temperature)
    assert fit_temperature(logits, label) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize(("rows", "classes"), [(5, 4), (30, 4), (3000, 4), (30, 2)])
def test_no_temperature_of_a_fine_grid_has_a_lower_loss(rows, classes):
    logits, label = drawn(rows, classes, 3.0)
    smoothing = 1 / (rows + 2)
    target = torch.full((rows, classes), smoothing / (classes - 1), dtype=torch.float64)
    target[torch.arange(rows), label] = 1 - smoothing

    def loss(temperature):
        return -(target * (logits.double() / temperature).log_softmax(dim=1)).sum(dim=1).mean()

    fitted = fit_temperature(logits, label)
    grid = [math.exp(step / 200) for step in range(-300, 700)]
    assert loss(fitted) <= min(map(loss, grid)) + 1e-12
    assert fitted == pytest.approx(min(grid, key=loss), rel=0.006)


def test_rows_that_are_all_right_do_not_make_it_certain():
    logits, label = torch.tensor([[6.0, 0.0]]).repeat(8, 1), torch.zeros(8, dtype=torch.int64)
    fitted = fit_temperature(logits, label)
    # Platt's target for 8 rows is 9/10, and so 6 / T must be log 9.
    assert fitted == pytest.approx(6 / math.log(9), rel=1e-9)
    assert (logits / fitted).softmax(dim=1)[0, 0] == pytest.approx(0.9, abs=1e-6)


def test_it_scales_with_the_logits():
    logits, label = drawn(500, 3, 2.0)
    assert fit_temperature(8 * logits, label) == pytest.approx(8 * fit_temperature(logits, label), rel=1e-9)


def test_logits_that_tell_the_opposite_end_at_the_bound():
    logits = torch.tensor([[5.0, 0.0, 1.0]]).repeat(50, 1)
    assert fit_temperature(logits, torch.ones(50, dtype=torch.int64)) == pytest.approx(HIGHEST, rel=1e-6)


def test_it_is_the_same_each_time_and_leaves_the_logits_alone():
    logits, label = drawn(200, 7, 1.5)
    before = logits.clone()
    assert fit_temperature(logits, label) == fit_temperature(logits, label)
    assert torch.equal(logits, before)


def test_one_class_is_no_reason_to_fail():
    assert 0 < fit_temperature(torch.randn(4, 1), torch.zeros(4, dtype=torch.int64)) < math.inf
