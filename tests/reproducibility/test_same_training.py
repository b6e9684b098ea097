"""The same seed leaves the same bytes, whatever happens around a training or in the midst of it."""

from __future__ import annotations

import pkgutil
import random
import shutil
from unittest import mock

import numpy as np
import pytest
import torch

from lare_dassl.commands.checks import make_config
from lare_dassl.commands.train import build_trainer
from lare_dassl.host import door
from tests.helpers import run_train, train_arguments
from tests.reproducibility.conftest import on_embeddings, torch_threads
from tests.reproducibility.leaving import different, left_by
from tests.trainers.interruption import Killed, train_until

TRAINERS = (
    *("ZeroShot", "FineTune", "LADS", "LARE", "CLIPAdapter", "TipAdapter", "TipAdapterF", "CrossModal"),
    *("GaussianNoise", "TextInterpolation", "RegionCentre"),
)


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.usefixtures("_listings_backwards")
def test_place_of_the_data_and_global_random_state_do_not_count(
    straight, embedding_file, tmp_path, monkeypatch, trainer
):
    expected = straight(trainer)
    shutil.copy(embedding_file, tmp_path / "moved.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(door, "set_random_seed", lambda _: seed_everything(77))
    assert run_train(*on_embeddings(trainer, "moved.safetensors"), "OUTPUT_DIR", "run") == 0
    assert different(left_by(tmp_path / "run"), expected) == []


def test_what_is_compared_is_no_less_than_what_a_run_leaves(straight, embedding_file, tmp_path):
    """Another seed changes all that is learned, so that the tests here can fail."""
    expected = straight("LARE")
    assert run_train("--output-dir", tmp_path, *on_embeddings("LARE", embedding_file), "SEED", 4) == 0
    found = different(left_by(tmp_path), expected)
    learned = {"classifier.safetensors", "model/weight", "model/bias", "regions/hidden.weight", "regions/corners.bias"}
    assert learned | {"seed", "metrics", "predictions.safetensors"} <= set(found)


@pytest.mark.parametrize(
    "choice", [("CLASSIFIER.AVERAGE", "val"), ("TEST.FINAL_MODEL", "best_val"), ("DATASET.NUM_SHOTS", 2)]
)
def test_choices_are_the_same_again(straight, embedding_file, tmp_path, monkeypatch, choice):
    expected = straight("LARE", *choice)
    monkeypatch.setattr(door, "set_random_seed", lambda _: seed_everything(77))
    assert run_train("--output-dir", tmp_path, *on_embeddings("LARE", embedding_file), *choice) == 0
    found = left_by(tmp_path)
    assert different(found, expected) == []
    assert bool(found["chosen"]) == (choice[0] == "CLASSIFIER.AVERAGE")


def test_other_use_of_the_random_state_does_not_count(straight, build, tmp_path, monkeypatch):
    """A notebook, a callback or a second run in the same process may draw between any two batches."""
    trainer = build("LARE")
    plain = trainer.forward_backward

    def drawing(batch):
        torch.rand(3)
        np.random.rand(3)
        random.random()
        return plain(batch)

    monkeypatch.setattr(trainer, "forward_backward", drawing)
    trainer.train()
    assert different(left_by(tmp_path), straight("LARE")) == []


@pytest.fixture
def build(embedding_file, tmp_path):
    """`build(NAME, FOLDER, KEY, VALUE, ...)`: a trainer on the embedding file that writes into a folder."""

    def trainer_of(name, folder=tmp_path, *overrides):
        words = ("--output-dir", folder, *on_embeddings(name, embedding_file), *overrides)
        return build_trainer(make_config(train_arguments(*words)))

    return trainer_of


@pytest.mark.parametrize("trainer", ["LARE", "LADS", "CLIPAdapter"])
def test_a_run_stopped_after_any_epoch_and_gone_on_is_the_same(straight, build, tmp_path, trainer):
    expected = straight(trainer)
    for epochs in range(5):
        folder = tmp_path / str(epochs)
        train_until(build(trainer, folder, "TRAIN.CHECKPOINT_FREQ", 1), epochs)
        build(trainer, folder).train()
        assert different(left_by(folder), expected) == [], f"stopped after epoch {epochs}"


def test_a_run_stopped_twice_between_checkpoints_is_the_same(straight, build, tmp_path):
    choice = ("TEST.FINAL_MODEL", "best_val")
    for epochs in (3, 4):
        train_until(build("LARE", tmp_path, *choice, "TRAIN.CHECKPOINT_FREQ", 2), epochs)
    build("LARE", tmp_path, *choice).train()
    assert different(left_by(tmp_path), straight("LARE", *choice)) == []


@pytest.mark.parametrize("fit", ["lare.fit_regions", "lads.fit_augmentation"])
def test_a_run_stopped_in_its_first_stage_is_the_same(straight, build, tmp_path, fit):
    name, trainer = f"lare_dassl.trainers.{fit}", fit.partition(".")[0].upper()
    plain = pkgutil.resolve_name(name)

    def kill_in_the_second(epoch, loss):
        if epoch == 2:
            raise Killed

    def killed(*tensors, on_epoch, **settings):
        return plain(*tensors, on_epoch=kill_in_the_second, **settings)

    with mock.patch(name, killed), pytest.raises(Killed):
        build(trainer).train()
    assert not list(tmp_path.glob(f"{fit.partition('fit_')[2]}/*"))
    build(trainer).train()
    assert different(left_by(tmp_path), straight(trainer)) == []


def test_other_threads_change_the_last_digits_at_most(embedding_file, tmp_path):
    """docs/reproducibility.md says why: matrix products are divided otherwise, and their sums rounded otherwise."""
    left = {}
    for name, threads in (("one", 1), ("two", 2), ("two again", 2), ("eight", 8)):
        with torch_threads(threads):
            assert run_train("--output-dir", tmp_path / name, *on_embeddings("LARE", embedding_file)) == 0
        left[name] = left_by(tmp_path / name)
    assert different(left["two"], left["two again"]) == []
    weights = {name: np.frombuffer(found["model/weight"], np.float32) for name, found in left.items()}
    for name in ("two", "eight"):
        assert left[name]["split.json"] == left["one"]["split.json"]
        assert np.abs(weights[name] - weights["one"]).max() < 1e-5
