from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F

from lare_dassl import RegionSettings, fit_regions


def prepared(build, *overrides):
    """A LARE trainer after stage 1."""
    trainer = build("LARE", "run", *overrides)
    trainer.before_train()
    return trainer


@pytest.mark.parametrize(
    ("overrides", "scale"), [(("TRAINER.LARE.REGION", "residual"), 50.0), (("TRAINER.LARE.LOGIT_SCALE", 7.0), 7.0)]
)
def test_stage_1_is_fit_regions_with_the_configured_settings(build, overrides, scale):
    trainer = prepared(build, "TRAINER.LARE.ALPHA", 0.5, *overrides)
    settings = RegionSettings(
        alpha=0.5, parametrisation="residual" if scale == 50.0 else "minmax", hidden_dim=8, epochs=3
    )
    rows, class_text = trainer.embeddings.train, trainer.embeddings.class_text
    expected = fit_regions(rows.embedding, rows.label, class_text, logit_scale=scale, settings=settings, seed=0)
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, trainer.network.state_dict()[name])


def test_samples_lie_in_the_regions_of_their_images(build):
    trainer = prepared(build)
    train = trainer.embeddings.train
    with torch.no_grad():
        regions = trainer.network(train.embedding)
    batch = next(iter(trainer.train_loader_x))
    real = batch.embedding[:16]
    for row, sample in zip(real, batch.embedding[16:], strict=True):
        place = int((train.embedding == row).all(dim=1).nonzero()[0])
        lower, upper = regions.lower[place], regions.upper[place]
        # A sample is a point of the box scaled to unit length: some multiple of it lies in the box.
        bounds = torch.stack([lower / sample, upper / sample]).sort(dim=0).values
        assert bounds[0].max() <= bounds[1].min() + 1e-4


def test_stage_1_reports_its_losses(build, caplog):
    with caplog.at_level(logging.INFO, "lare_dassl"):
        prepared(build)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("regions, epoch")]
    assert [line.split(":")[0] for line in lines] == [f"regions, epoch {epoch}/3" for epoch in (1, 2, 3)]


def test_regions_are_boxes_around_the_class(build):
    """After a real fit the centre of a region is nearest to the text of its own class."""
    trainer = prepared(build, "TRAINER.LARE.EPOCHS", 60, "TRAINER.LARE.HIDDEN_DIM", 64)
    train = trainer.embeddings.train
    with torch.no_grad():
        regions = trainer.network(train.embedding)
    assert bool((regions.lower <= regions.upper).all())
    nearest = (F.normalize(regions.centre, dim=-1) @ trainer.embeddings.class_text.T).argmax(dim=1)
    assert (nearest == train.label).float().mean() >= 0.95
