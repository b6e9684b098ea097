"""The first stage of a run is kept, taken up after a kill, and refused where it is of another run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from tests.helpers import write_embeddings
from tests.trainers.interruption import Killed, last_state, record_of, train_until


@dataclass
class Method:
    """A method of two stages: its runs, the folder of stage 1, and the texts that stage 1 depends on."""

    build: Callable[..., Any]
    name: str
    folder: str
    fit: str
    texts: str
    texts_named: str


@pytest.fixture(
    params=[
        ("LARE", "regions", "fit_regions", "class_text", "class texts"),
        ("LADS", "augmentation", "fit_augmentation", "domain_text", "domain descriptions"),
    ],
    ids=["LARE", "LADS"],
)
def method(request, build, described_file):
    return Method(partial(build, request.param[0], root=described_file), *request.param)


def refuse_fitting(monkeypatch, method):
    def fit_again(*_, **__):
        raise AssertionError("stage 1 was fitted again")

    monkeypatch.setattr(f"lare_dassl.trainers.{method.name.lower()}.{method.fit}", fit_again)


def test_a_kill_between_the_stages_keeps_the_first(method, tmp_path, monkeypatch, caplog):
    method.build("straight").train()
    train_until(method.build("run"), epochs=0)
    assert checkpoint.latest(tmp_path / "run" / "model") is None
    took = checkpoint.read(checkpoint.latest(tmp_path / "run" / method.folder))["seconds"]["stage1"]
    refuse_fitting(monkeypatch, method)
    with caplog.at_level(logging.INFO, "lare_dassl"):
        method.build("run").train()
    assert f"{method.folder}: taken from {tmp_path}/run/{method.folder}/model.pth.tar-3" in caplog.text
    first, second = (last_state(tmp_path / run)["state_dict"] for run in ("run", "straight"))
    assert torch.equal(first["weight"], second["weight"])
    assert record_of(tmp_path / "run")["seconds"]["stage1"] == took > 0


def test_a_run_resumed_in_another_folder_brings_it_along(method, tmp_path, monkeypatch):
    train_until(method.build("run", "TRAIN.CHECKPOINT_FREQ", 1), epochs=2)
    refuse_fitting(monkeypatch, method)
    method.build("other", "TRAIN.CHECKPOINT_FREQ", 1, resume="run").train()
    assert (tmp_path / "other" / method.folder / "model.pth.tar-3").is_file()


def test_a_kill_in_it_leaves_nothing_to_resume(method, tmp_path, monkeypatch):
    """LADS is killed in its second network of three epochs."""
    left = iter(range(1 if method.name == "LARE" else 4))

    def report(*_):
        if next(left, None) is None:
            raise Killed
        return False

    with monkeypatch.context() as patch:
        patch.setattr(f"lare_dassl.trainers.{method.name.lower()}.worth_a_line", report)
        with pytest.raises(Killed):
            method.build("run").train()
    assert checkpoint.latest(tmp_path / "run" / method.folder) is None
    method.build("run").train()
    assert last_state(tmp_path / "run")["epoch"] == 6


def test_a_kill_between_the_stages_keeps_the_drawn_seed(method):
    killed = method.build("run", seed=-1)
    killed.before_train()
    resumed = method.build("run", seed=-1)
    resumed.before_train()
    assert resumed.seed == killed.seed
    first, second = killed.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(weight, second[part]) for part, weight in first.items())


def test_one_of_other_settings_or_texts_is_refused(method, described_embeddings, tmp_path):
    method.build("run").before_train()
    refused = rf"{method.folder}/model.pth.tar-3 is of another run \("
    with pytest.raises(InputError, match=rf"{refused}TRAINER.{method.name}.ALPHA is 0\.\d there and 0\.7 here\)"):
        method.build("run", f"TRAINER.{method.name}.ALPHA", 0.7).before_train()
    changed = replace(described_embeddings, **{method.texts: getattr(described_embeddings, method.texts).flip(-2)})
    path = write_embeddings(tmp_path / "other.safetensors", changed)
    with pytest.raises(InputError, match=rf"{refused}{method.texts_named} \(sha256\) is"):
        method.build("run", root=path).before_train()


def test_a_damaged_one_is_named(method, tmp_path):
    method.build("run").before_train()
    path = tmp_path / "run" / method.folder / "model.pth.tar-3"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=rf"{method.folder}/model.pth.tar-3' cannot be read"):
        method.build("run").before_train()


def test_one_that_diverges_is_one_line(method):
    diverged = rf"TRAINER.{method.name}: stage 1 diverged in epoch .*: lower the learning rate"
    with pytest.raises(InputError, match=diverged):
        method.build("run", f"TRAINER.{method.name}.LR", "1e15").before_train()
