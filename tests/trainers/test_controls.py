from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from tests.helpers import run_train
from tests.trainers.interruption import last_state, metrics_of, train_until

QUICK_REGIONS = ("TRAINER.LARE.EPOCHS", 3, "TRAINER.LARE.HIDDEN_DIM", 8)
SAMPLES = {name: f"TRAINER.{name.upper()}.SAMPLES_PER_IMAGE" for name in ("GaussianNoise", "TextInterpolation")}
SAMPLES["RegionCentre"] = "TRAINER.LARE.SAMPLES_PER_IMAGE"


@pytest.fixture
def build_control(build):
    """`build_control(name, run folder, KEY, VALUE, ...)`, with a short first stage where there is one."""

    def build_trainer(name, folder, *overrides):
        return build(name, folder, *(QUICK_REGIONS if name == "RegionCentre" else ()), *overrides)

    return build_trainer


def prepared(build_control, name, *overrides):
    trainer = build_control(name, "run", *overrides)
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


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("samples", [1, 3])
def test_batches_hold_as_many_added_embeddings_as_those_of_lare(build_control, name, samples):
    batches = list(prepared(build_control, name, SAMPLES[name], samples).train_loader_x)
    assert [len(batch) for batch in batches] == [16 * (1 + samples), 16 * (1 + samples), 8 * (1 + samples)]
    for batch in batches:
        real = len(batch) // (1 + samples)
        assert batch.sampled.tolist() == [False] * real + [True] * (samples * real)
        assert torch.equal(batch.label, batch.label[:real].repeat(1 + samples))
        torch.testing.assert_close(batch.embedding.norm(dim=1), torch.ones(len(batch)))


@pytest.mark.parametrize("name", SAMPLES)
def test_only_what_is_added_tells_it_from_a_linear_probe(build, build_control, tmp_path, name):
    build("FineTune", "probe").train()
    for samples in (0, 1):
        build_control(name, f"control{samples}", SAMPLES[name], samples).train()
    probe, without, mixed = (
        last_state(tmp_path / folder)["state_dict"] for folder in ("probe", "control0", "control1")
    )
    assert torch.equal(without["weight"], probe["weight"]) and torch.equal(without["bias"], probe["bias"])
    assert not torch.equal(mixed["weight"], probe["weight"])


@pytest.mark.parametrize(("sigma", "cosine"), [(0.0, 1.0), (0.5, 0.894), (3.0, 0.316)])
def test_noise_has_the_configured_strength(build_control, sigma, cosine):
    real, _, noisy = added(prepared(build_control, "GaussianNoise", "TRAINER.GAUSSIANNOISE.SIGMA", sigma))
    assert float((real * noisy).sum(dim=1).mean()) == pytest.approx(cosine, abs=0.08)


def test_interpolations_lie_between_an_image_and_the_text_of_its_class(build_control):
    trainer = prepared(build_control, "TextInterpolation")
    real, places, between = added(trainer)
    text = trainer.embeddings.class_text[trainer.embeddings.train.label[places]]
    angles = [torch.acos((a * b).sum(dim=1).clamp(-1, 1)) for a, b in ((real, between), (between, text), (real, text))]
    torch.testing.assert_close(angles[0] + angles[1], angles[2], atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["GaussianNoise", "TextInterpolation"])
def test_what_is_added_is_fresh_every_epoch(build_control, name):
    trainer = prepared(build_control, name)
    first = added(trainer)[2]
    trainer.train_loader_x.set_epoch(1)
    assert not set(map(tuple, first.tolist())) & set(map(tuple, added(trainer)[2].tolist()))


def test_centres_are_those_of_the_regions_of_lare(build, build_control, tmp_path):
    lare = build("LARE", "lare", "TRAINER.LARE.ALPHA", 0.6)
    lare.before_train()
    _, places, centres = added(prepared(build_control, "RegionCentre", "TRAINER.LARE.ALPHA", 0.6))
    with torch.no_grad():
        regions = lare.network(lare.embeddings.train.embedding)
    expected = F.normalize((regions.lower + regions.upper) / 2, dim=-1)[places]
    torch.testing.assert_close(centres, expected)


def test_centres_leave_nothing_to_chance(build_control):
    trainer = prepared(build_control, "RegionCentre")
    epochs = []
    for epoch in range(2):
        trainer.train_loader_x.set_epoch(epoch)
        _, places, centres = added(trainer)
        epochs.append(centres[places.argsort()])
    assert torch.equal(*epochs)


@pytest.mark.parametrize("name", SAMPLES)
def test_resuming_gives_the_same_run(build_control, tmp_path, name):
    words = ("TRAIN.CHECKPOINT_FREQ", 2)
    build_control(name, "straight", *words).train()
    train_until(build_control(name, "killed", *words), epochs=3)
    build_control(name, "killed", *words).train()
    first, second = (last_state(tmp_path / folder)["state_dict"] for folder in ("straight", "killed"))
    assert torch.equal(first["weight"], second["weight"])
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "killed")


@pytest.mark.parametrize("name", SAMPLES)
def test_it_runs_from_the_command_line(name, embedding_file, tmp_path):
    words = ("--trainer", name, "--root", embedding_file, "--output-dir", tmp_path / "run", "--seed", 0)
    settings = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 40)
    assert run_train(*words, *settings, *(QUICK_REGIONS if name == "RegionCentre" else ())) == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    section = "LARE" if name == "RegionCentre" else name.upper()
    assert (record["trainer"], set(record["config"]["TRAINER"])) == (name, {"NAME", section})
    assert record["metrics"]["in_domain_accuracy"] > 60.0


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("GaussianNoise", ("TRAINER.GAUSSIANNOISE.SIGMA", -1), "TRAINER.GAUSSIANNOISE.SIGMA must be at least 0"),
        *((name, (key, -1), f"{key} must be at least 0, not -1") for name, key in SAMPLES.items()),
        ("RegionCentre", ("TRAINER.LARE.ALPHA", 2), r"TRAINER.LARE.ALPHA must lie in \[0, 1\], not 2"),
    ],
)
def test_settings_out_of_range_are_refused(build_control, name, overrides, message):
    with pytest.raises(InputError, match=message):
        build_control(name, "run", *overrides)
