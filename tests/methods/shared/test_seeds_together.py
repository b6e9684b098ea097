from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lare_dassl.errors import InputError
from lare_dassl.methods.lads import AugmentationSettings
from lare_dassl.methods.lare.fit import fit_regions, fit_regions_together
from lare_dassl.methods.lare.regions import RegionSettings
from lare_dassl.methods.shared.seeds_together import RepeatedStep, StackedNetworks, fit_epochs_together, recordable

SEEDS = (3, 0, 7)


@pytest.fixture
def rows():
    """Embeddings (S, N, D) and labels (S, N) of each seed, and class texts (C, D)."""
    generator = torch.Generator().manual_seed(0)
    class_text = F.normalize(torch.randn(4, 12, generator=generator), dim=-1)
    label = torch.randint(4, (len(SEEDS), 20), generator=generator)
    noise = 0.2 * torch.randn(len(SEEDS), 20, 12, generator=generator)
    return F.normalize(class_text[label] + noise, dim=-1), label, class_text


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("parametrisation", ["minmax", "residual"])
def test_regions_fitted_together_are_those_of_each_seed_alone(rows, parametrisation, normalise):
    embeddings, labels, class_text = rows
    settings = RegionSettings(
        parametrisation=parametrisation, normalise_corners=normalise, hidden_dim=8, epochs=4, batch_size=8
    )
    reports = []

    def report(*figures):
        reports.append(figures)

    together = fit_regions_together(*rows, seeds=SEEDS, settings=settings, on_epoch=report)
    assert [epoch for epoch, _ in reports] == [1, 2, 3, 4]
    for place, seed in enumerate(SEEDS):
        alone = []
        network = fit_regions(
            *(embeddings[place], labels[place], class_text),
            seed=seed,
            settings=settings,
            on_epoch=lambda _, loss, alone=alone: alone.append(loss),
        )
        assert not together[place].training
        for expected, parameter in zip(network.parameters(), together[place].parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-5)
        for expected, (_, losses) in zip(alone, reports, strict=True):
            assert vars(losses[place]) == pytest.approx(vars(expected), rel=1e-4)


def test_several_seeds_are_refused_what_one_is(rows):
    embeddings, labels, class_text = rows
    labels[1, 2] = 4
    with pytest.raises(InputError, match=r"labels must lie in \[0, 4\), got 0 to 4"):
        fit_regions_together(embeddings, labels, class_text, seeds=SEEDS)


def test_a_seed_whose_loss_is_not_finite_ends_the_fit():
    networks = [nn.Linear(2, 1) for _ in range(2)]
    data = torch.ones(2, 3, 2)
    data[1] *= torch.inf
    settings = AugmentationSettings(epochs=3)
    epochs = fit_epochs_together(networks, lambda network, row: (network(row).mean(),), (data,), settings, seeds=(0, 1))
    with pytest.raises(InputError, match=r"stage 1 diverged in epoch 1 \(loss (-?inf|nan)\)"):
        next(epochs)


def test_training_stacked_parameters_trains_the_networks():
    networks = [nn.Linear(2, 3) for _ in range(2)]
    before = [network.weight.detach().clone() for network in networks]
    stacked = StackedNetworks(networks)
    inputs = torch.randn(2, 5, 2)
    outputs = stacked.each(lambda network, row: network(row))(inputs)
    for network, row, output in zip(networks, inputs, outputs, strict=True):
        torch.testing.assert_close(output, network(row))
    with torch.no_grad():
        stacked.parameters["weight"].add_(torch.tensor([1.0, 2.0])[:, None, None])
    for place, network in enumerate(networks):
        torch.testing.assert_close(network.weight, before[place] + place + 1)


def test_without_a_gpu_steps_and_rates_stay_as_they_are():
    repeated = RepeatedStep(torch.device("cpu"))
    found = [repeated(lambda rows: rows + 1, torch.tensor([[index]])).item() for index in range(6)]
    assert found == [1, 2, 3, 4, 5, 6]
    assert recordable(0.1, torch.device("cpu")) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_recorded_steps_give_what_steps_one_by_one_give(rows):
    embeddings, labels, class_text = (part.cuda() for part in rows)
    settings = RegionSettings(hidden_dim=8, epochs=6, batch_size=8)
    together = fit_regions_together(embeddings, labels, class_text, seeds=SEEDS, settings=settings)
    for place, seed in enumerate(SEEDS):
        network = fit_regions(embeddings[place], labels[place], class_text, seed=seed, settings=settings)
        for expected, parameter in zip(network.parameters(), together[place].parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4)
