from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F


def prepared(build, name, *overrides):
    trainer = build(name, "run", *overrides)
    trainer.before_train()
    return trainer


def added(trainer):
    """The real embeddings of an epoch, each with the row it is, and what is added for it, (N, D) each."""
    real, places, additions = [], [], []
    rows = trainer.embeddings.train.embedding
    for batch in trainer.train_loader_x:
        assert batch.sampled.sum() == len(batch) / 2
        real.append(batch.embedding[~batch.sampled])
        additions.append(batch.embedding[batch.sampled])
        places += [int((rows == row).all(dim=1).nonzero()[0]) for row in real[-1]]
    return torch.cat(real), torch.tensor(places), torch.cat(additions)


@pytest.mark.parametrize(("sigma", "cosine"), [(0.0, 1.0), (0.5, 0.894), (3.0, 0.316)])
def test_noise_has_the_configured_strength(build, sigma, cosine):
    real, _, noisy = added(prepared(build, "GaussianNoise", "TRAINER.GAUSSIANNOISE.SIGMA", sigma))
    assert float((real * noisy).sum(dim=1).mean()) == pytest.approx(cosine, abs=0.08)


def test_interpolations_lie_between_an_image_and_its_class_text(build):
    trainer = prepared(build, "TextInterpolation")
    real, places, between = added(trainer)
    text = trainer.embeddings.class_text[trainer.embeddings.train.label[places]]
    angles = [torch.acos((a * b).sum(dim=1).clamp(-1, 1)) for a, b in ((real, between), (between, text), (real, text))]
    torch.testing.assert_close(angles[0] + angles[1], angles[2], atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["LARE", "GaussianNoise", "TextInterpolation"])
def test_what_is_added_is_fresh_every_epoch(build, name):
    trainer = prepared(build, name)
    first = added(trainer)[2]
    trainer.train_loader_x.set_epoch(1)
    assert not set(map(tuple, first.tolist())) & set(map(tuple, added(trainer)[2].tolist()))


def test_centres_are_those_of_the_regions_of_lare(build):
    lare = build("LARE", "lare", "TRAINER.LARE.ALPHA", 0.6)
    lare.before_train()
    _, places, centres = added(prepared(build, "RegionCentre", "TRAINER.LARE.ALPHA", 0.6))
    with torch.no_grad():
        regions = lare.network(lare.embeddings.train.embedding)
    expected = F.normalize((regions.lower + regions.upper) / 2, dim=-1)[places]
    torch.testing.assert_close(centres, expected)


def test_centres_leave_nothing_to_chance(build):
    trainer = prepared(build, "RegionCentre")
    epochs = []
    for epoch in range(2):
        trainer.train_loader_x.set_epoch(epoch)
        _, places, centres = added(trainer)
        epochs.append(centres[places.argsort()])
    assert torch.equal(*epochs)
