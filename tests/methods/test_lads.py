from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.lads import (
    AugmentationNetwork,
    AugmentationSettings,
    directional_loss,
    fit_augmentation,
    lads_loss,
)
from lare_dassl.methods.lare.regions import consistency_loss

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}


def loop_directional(moved, embedding, target_text, source_text):
    """One minus the cosine of the two shifts, by a loop over rows and dimensions."""
    total = 0.0
    for rows in zip(moved.tolist(), embedding.tolist(), target_text.tolist(), source_text.tolist(), strict=True):
        image_shift = [after - before for after, before in zip(rows[0], rows[1], strict=True)]
        text_shift = [after - before for after, before in zip(rows[2], rows[3], strict=True)]
        inner = sum(a * b for a, b in zip(image_shift, text_shift, strict=True))
        lengths = math.hypot(*image_shift) * math.hypot(*text_shift)
        total += 1 - inner / lengths
    return total / len(moved)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_directional_loss_compares_image_and_text_shifts(dtype):
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(4, 7, 5, generator=generator, dtype=torch.float64).to(dtype)
    assert directional_loss(*parts).item() == pytest.approx(loop_directional(*parts.double()), rel=TOLERANCE[dtype])


@pytest.mark.parametrize(("text_shift", "loss"), [([2.0, 0.0], 0.0), ([0.0, 1.0], 1.0), ([-1.0, 0.0], 2.0)])
def test_the_directional_loss_is_least_along_the_text(text_shift, loss):
    rows = torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5, 1.0]]), torch.tensor([text_shift]), torch.zeros(1, 2)
    assert directional_loss(*rows).item() == pytest.approx(loss, abs=1e-6)


def test_texts_without_a_shift_leave_the_gradient_finite():
    moved = torch.randn(3, 4, requires_grad=True)
    loss = directional_loss(moved, torch.randn(3, 4), torch.ones(3, 4), torch.ones(3, 4))
    loss.backward()
    assert loss.item() == 1.0
    assert moved.grad.tolist() == torch.zeros(3, 4).tolist()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_weighs_its_two_parts(alpha):
    loss = lads_loss(torch.tensor(0.7), torch.tensor(2.5), alpha)
    assert loss.item() == pytest.approx(alpha * 0.7 + (1 - alpha) * 2.5, rel=1e-6)


def test_the_network_has_two_layers_and_gives_unit_rows():
    network = AugmentationNetwork(3, 8).double()
    rows = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        moved = network(rows)
        for row, got in zip(rows, moved, strict=True):
            hidden = torch.stack([(w @ row + b).clamp(min=0) for w, b in layer_rows(network.hidden)])
            output = [float(w @ hidden + b) for w, b in layer_rows(network.output)]
            assert got.tolist() == pytest.approx([value / math.hypot(*output) for value in output])


def layer_rows(layer):
    return zip(layer.weight, layer.bias, strict=True)


@pytest.fixture(scope="module")
def problem():
    """Embeddings around four directions, their labels, the class texts, and the texts of a source and a target."""
    generator = torch.Generator().manual_seed(5)
    class_text = F.normalize(torch.randn(4, 12, generator=generator), dim=-1)
    shift = F.normalize(torch.randn(12, generator=generator), dim=-1)
    label = torch.arange(40) % 4
    embedding = F.normalize(class_text[label] + 0.15 * torch.randn(40, 12, generator=generator), dim=-1)
    target_text = F.normalize(class_text + 0.8 * shift, dim=-1)
    return embedding, label, class_text, class_text[label], target_text[label]


SMALL = {"hidden_dim": 32, "epochs": 15, "batch_size": 16, "lr": 1e-2}


def shift_cosine(moved, problem):
    embedding, _, _, source_text, target_text = problem
    return F.cosine_similarity(moved - embedding, target_text - source_text, dim=-1).mean().item()


def test_embeddings_move_along_the_text_and_keep_their_class(problem):
    settings = AugmentationSettings(**SMALL | {"epochs": 60})
    first, last = (
        fit_augmentation(*problem, logit_scale=50.0, settings=settings)
        for settings in (AugmentationSettings(**SMALL | {"epochs": 1}), settings)
    )
    with torch.no_grad():
        early, late = first(problem[0]), last(problem[0])
    assert shift_cosine(early, problem) < 0.6
    assert shift_cosine(late, problem) > 0.9
    assert ((late @ problem[2].T).argmax(dim=-1) == problem[1]).all()
    assert not last.training


def test_alpha_chooses_between_direction_and_class(problem):
    losses = {}
    for alpha in (0.0, 1.0):
        settings = AugmentationSettings(alpha=alpha, **SMALL | {"epochs": 40})
        fit_augmentation(
            *problem, settings=settings, on_epoch=lambda _, loss, alpha=alpha: losses.__setitem__(alpha, loss)
        )
    assert losses[0.0].consistency < 0.05 < losses[1.0].consistency
    assert losses[1.0].directional < 0.05 < 0.5 * losses[0.0].directional


def test_each_epoch_reports_its_number_and_the_mean_losses(problem):
    calls = []
    settings = AugmentationSettings(**SMALL | {"epochs": 3, "lr": 1e-12, "alpha": 0.3})
    network = fit_augmentation(*problem, settings=settings, on_epoch=lambda *call: calls.append(call))
    assert [epoch for epoch, _ in calls] == [1, 2, 3]
    # At a vanishing learning rate the mean over batches of 16, 16 and 8 is the loss over all 40 rows.
    with torch.no_grad():
        moved = network(problem[0])
        directional = directional_loss(moved, problem[0], problem[4], problem[3]).item()
        consistency = consistency_loss(moved, problem[1], problem[2], 100.0).item()
    for _, loss in calls:
        assert loss.directional == pytest.approx(directional, rel=1e-4)
        assert loss.consistency == pytest.approx(consistency, rel=1e-4)
        assert loss.total == pytest.approx(0.3 * directional + 0.7 * consistency, rel=1e-4)


def fitted(problem, seed):
    network = fit_augmentation(*problem, settings=AugmentationSettings(**SMALL | {"epochs": 2}), seed=seed)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_the_seed_alone_decides_the_result(problem):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fitted(problem, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(fitted(problem, seed=7), first)
    assert not torch.equal(fitted(problem, seed=8), first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, y, t, s, g: (e[:, :-1], y, t, s, g), "must share D, got (40, 11) and (4, 12)"),
        (lambda e, y, t, s, g: (e, y, t, s[:4], g), "source_text must be float32 (40, 12) as the embeddings, got"),
        (lambda e, y, t, s, g: (e, y, t, s, g[:, :6]), "target_text must be float32 (40, 12) as the embeddings, got"),
        (lambda e, y, t, s, g: (e, y, t, s, g.half()), "target_text must be float32 (40, 12) as the embeddings, got"),
    ],
)
def test_inputs_that_cannot_be_fitted_are_named(problem, change, message):
    with pytest.raises(InputError) as error:
        fit_augmentation(*change(*problem), settings=AugmentationSettings(**SMALL))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_defaults_are_the_papers_settings():
    assert AugmentationSettings() == AugmentationSettings(
        alpha=0.5, hidden_dim=384, epochs=50, lr=0.001, weight_decay=0.005, batch_size=256
    )
