from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lare_dassl import RegionSettings, fit_regions
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from tests.helpers import shifted_embeddings, write_embeddings
from tests.trainers.interruption import Killed, last_state, train_until


def prepared(build, tmp_path, *overrides):
    """A LARE trainer after stage 1."""
    trainer = build("LARE", "run", *overrides)
    trainer.before_train()
    return trainer


def test_stage_1_is_fit_regions_with_the_configured_settings(build, tmp_path):
    trainer = prepared(build, tmp_path, "TRAINER.LARE.ALPHA", 0.5, "TRAINER.LARE.REGION", "residual")
    settings = RegionSettings(alpha=0.5, parametrisation="residual", hidden_dim=8, epochs=3)
    rows = trainer.embeddings.train
    expected = fit_regions(
        rows.embedding, rows.label, trainer.embeddings.class_text, logit_scale=50.0, settings=settings, seed=0
    )
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, trainer.network.state_dict()[name])


def test_the_configured_logit_scale_replaces_the_models(build, tmp_path):
    rows = (trainer := prepared(build, tmp_path, "TRAINER.LARE.LOGIT_SCALE", 7.0)).embeddings.train
    settings = RegionSettings(hidden_dim=8, epochs=3)
    expected = fit_regions(
        rows.embedding, rows.label, trainer.embeddings.class_text, logit_scale=7.0, settings=settings, seed=0
    )
    assert torch.equal(expected.corners.weight, trainer.network.corners.weight)


@pytest.mark.parametrize("samples", [1, 3])
def test_batches_hold_regional_samples(build, tmp_path, samples):
    trainer = prepared(build, tmp_path, "TRAINER.LARE.SAMPLES_PER_IMAGE", samples)
    batches = list(trainer.train_loader_x)
    assert [len(batch) for batch in batches] == [16 * (1 + samples), 16 * (1 + samples), 8 * (1 + samples)]
    known = {tuple(row.tolist()) for row in trainer.embeddings.train.embedding}
    for batch in batches:
        real = len(batch) // (1 + samples)
        assert batch.sampled.tolist() == [False] * real + [True] * (samples * real)
        assert all(tuple(row.tolist()) in known for row in batch.embedding[:real])
        assert not any(tuple(row.tolist()) in known for row in batch.embedding[real:])
        assert torch.equal(batch.label, batch.label[:real].repeat(1 + samples))
        torch.testing.assert_close(batch.embedding.norm(dim=1), torch.ones(len(batch)))


def test_samples_lie_in_the_regions_of_their_images(build, tmp_path):
    trainer = prepared(build, tmp_path)
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


def test_samples_are_fresh_every_epoch(build, tmp_path):
    loader = prepared(build, tmp_path).train_loader_x
    first = torch.cat([batch.embedding[batch.sampled] for batch in loader])
    loader.set_epoch(1)
    second = torch.cat([batch.embedding[batch.sampled] for batch in loader])
    assert not set(map(tuple, first.tolist())) & set(map(tuple, second.tolist()))


def refuse_fitting(monkeypatch):
    def fit_again(*_, **__):
        raise AssertionError("the regions were fitted again")

    monkeypatch.setattr("lare_dassl.trainers.lare.fit_regions", fit_again)


def test_a_kill_between_the_stages_keeps_the_regions(build, tmp_path, monkeypatch, caplog):
    killed = build("LARE", "run")

    def before_epoch():
        raise Killed

    killed.before_epoch = before_epoch
    with pytest.raises(Killed):
        killed.train()
    assert checkpoint.latest(tmp_path / "run" / "model") is None
    build("LARE", "straight").train()
    refuse_fitting(monkeypatch)
    with caplog.at_level(logging.INFO, "lare_dassl"):
        build("LARE", "run").train()
    assert f"regions: taken from {tmp_path}/run/regions/model.pth.tar-3" in caplog.text
    first, second = (last_state(tmp_path / folder)["state_dict"] for folder in ("run", "straight"))
    assert torch.equal(first["weight"], second["weight"])


def test_a_kill_in_stage_1_leaves_nothing_to_resume(build, tmp_path, monkeypatch):
    killed = build("LARE", "run")

    def report(epoch, loss):
        if epoch == 2:
            raise Killed

    monkeypatch.setattr(killed, "report_stage_one", report)
    with pytest.raises(Killed):
        killed.train()
    assert checkpoint.latest(tmp_path / "run" / "regions") is None
    build("LARE", "run").train()
    assert last_state(tmp_path / "run")["epoch"] == 6


def test_without_a_seed_a_kill_between_the_stages_keeps_the_drawn_one(build, tmp_path, monkeypatch):
    killed = prepared_without_seed(build)
    resumed = prepared_without_seed(build)
    assert resumed.seed == killed.seed
    assert torch.equal(resumed.network.corners.weight, killed.network.corners.weight)


def prepared_without_seed(build):
    trainer = build("LARE", "run", seed=-1)
    trainer.before_train()
    return trainer


def test_regions_of_other_settings_are_refused(build, tmp_path):
    prepared(build, tmp_path)
    with pytest.raises(
        InputError, match=r"regions/model.pth.tar-3 is of another run \(TRAINER.LARE.ALPHA is 0.3 there and 0.7 here\)"
    ):
        prepared(build, tmp_path, "TRAINER.LARE.ALPHA", 0.7)


def test_regions_fitted_to_other_class_texts_are_refused(build, tmp_path):
    prepared(build, tmp_path)
    embeddings = shifted_embeddings()
    path = write_embeddings(
        tmp_path / "other.safetensors", replace(embeddings, class_text=embeddings.class_text.flip(0))
    )
    with pytest.raises(InputError, match=r"regions/model.pth.tar-3 is of another run \(class texts \(sha256\) is"):
        build("LARE", "run", root=path).before_train()


def test_damaged_regions_are_named(build, tmp_path):
    prepared(build, tmp_path)
    path = tmp_path / "run" / "regions" / "model.pth.tar-3"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"regions/model.pth.tar-3' cannot be read"):
        prepared(build, tmp_path)


def test_stage_1_that_diverges_is_one_line(build, tmp_path):
    with pytest.raises(InputError, match=r"TRAINER.LARE: stage 1 diverged in epoch .*: lower the learning rate"):
        prepared(build, tmp_path, "TRAINER.LARE.LR", "1e15")


def test_stage_1_reports_its_losses(build, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "lare_dassl"):
        prepared(build, tmp_path)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("regions, epoch")]
    assert [line.split(":")[0] for line in lines] == [f"regions, epoch {epoch}/3" for epoch in (1, 2, 3)]


def test_regions_are_boxes_around_the_class(build, tmp_path):
    """After a real fit the centre of a region is nearest to the text of its own class."""
    trainer = prepared(build, tmp_path, "TRAINER.LARE.EPOCHS", 60, "TRAINER.LARE.HIDDEN_DIM", 64)
    train = trainer.embeddings.train
    with torch.no_grad():
        regions = trainer.network(train.embedding)
    assert bool((regions.lower <= regions.upper).all())
    nearest = (F.normalize(regions.centre, dim=-1) @ trainer.embeddings.class_text.T).argmax(dim=1)
    assert (nearest == train.label).float().mean() >= 0.95


def test_the_time_of_stage_one_is_kept_over_a_kill_before_the_first_checkpoint(build, tmp_path):
    train_until(build("LARE", "run"), 0)
    first = checkpoint.read(checkpoint.latest(tmp_path / "run" / "regions"))["seconds"]["stage1"]
    assert first > 0
    build("LARE", "run").train()
    assert json.loads((tmp_path / "run" / "record.json").read_text())["seconds"]["stage1"] == first
