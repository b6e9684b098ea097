from __future__ import annotations

import pytest
import torch
from torch import nn

from lare_dassl.errors import InputError
from lare_dassl.methods.lads import AugmentationSettings
from lare_dassl.methods.shared.fitting import fit_epochs, seeded_network

SETTINGS = AugmentationSettings(epochs=3, lr=1e-12, weight_decay=0.0, batch_size=4)


def test_an_epoch_takes_every_row_once_and_reports_means():
    network, embeddings, orders = seeded_network(lambda: nn.Linear(2, 1), seed=0), torch.ones(10, 2), [[]]

    def losses(model, embedding, row):
        orders[-1].append(row.tolist())
        return model(embedding).mean(), row.float().mean()

    for epoch, means in fit_epochs(network, losses, (embeddings, torch.arange(10)), SETTINGS, seed=1):
        assert epoch == len(orders)
        assert [len(batch) for batch in orders[-1]] == [4, 4, 2]
        assert sorted(row for batch in orders[-1] for row in batch) == list(range(10))
        assert means == pytest.approx([network(embeddings).mean().item(), 4.5], abs=1e-6)
        orders.append([])
    assert len({str(order) for order in orders}) == 4


def test_the_first_loss_is_lowered_and_the_others_only_reported():
    network, embeddings = seeded_network(lambda: nn.Linear(2, 1), seed=0), torch.ones(8, 2)
    settings = AugmentationSettings(epochs=200, lr=0.1, weight_decay=0.0, batch_size=8)

    def losses(model, embedding):
        output = model(embedding).mean()
        return (output - 3) ** 2, -output

    *_, (_, means) = fit_epochs(network, losses, (embeddings,), settings, seed=0)
    assert network(embeddings).mean().item() == pytest.approx(3, abs=0.05)
    assert means[1] == pytest.approx(-3, abs=0.05)


def test_a_loss_that_is_not_finite_ends_the_fit():
    network = nn.Linear(2, 1)

    def no_number(model, embedding):
        return (model(embedding).sum() * torch.nan,)

    epochs = fit_epochs(network, no_number, (torch.ones(3, 2),), SETTINGS, seed=0)
    with pytest.raises(
        InputError, match=r"stage 1 diverged in epoch 1 \(loss nan\): lower the learning rate, or check the"
    ):
        next(epochs)


def test_the_seed_of_a_network_alone_decides_its_weights():
    before = torch.get_rng_state()
    first, again, other = (seeded_network(lambda: nn.Linear(3, 3), seed).weight for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_weights_decay_as_the_settings_say(weight_decay):
    """Without a gradient AdamW multiplies a weight by 1 − lr · weight_decay in each step."""
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()
    settings = AugmentationSettings(epochs=3, lr=0.1, weight_decay=weight_decay, batch_size=4)
    list(fit_epochs(network, lambda network, _: (0 * network.weight.sum(),), (torch.ones(8, 2),), settings, seed=0))
    torch.testing.assert_close(network.weight.detach(), before * (1 - 0.1 * weight_decay) ** 6)
