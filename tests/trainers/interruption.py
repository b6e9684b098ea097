"""Killing a run at a chosen point, and reading what it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lare_dassl.io import checkpoint
from tests.helpers import run_train
from tests.trainers.conftest import QUICK


class Killed(BaseException):
    """What ends a run here; no code of the library catches it."""


def train_until(trainer: Any, epochs: int) -> None:
    """Train, and kill the run at the start of the epoch after `epochs`."""

    def before_epoch() -> None:
        if trainer.epoch == epochs:
            raise Killed

    trainer.before_epoch = before_epoch
    with pytest.raises(Killed):
        trainer.train()


def check_that_a_resumed_run_equals_a_straight_one(
    build: Callable[..., Any], trainer: str, embedding_file: Path, folder: Path
) -> None:
    """Train one in one go, and one that is killed after four epochs and goes on by the command line."""
    build(trainer, "straight").train()
    train_until(build(trainer, "run", "TRAIN.CHECKPOINT_FREQ", 2), 4)
    flags = ("--trainer", trainer, "--root", embedding_file, "--output-dir", folder / "run", "--seed", 0)
    assert run_train(*flags, *QUICK, "DATASET.NAME", "EmbeddingFile", "TRAIN.CHECKPOINT_FREQ", 2) == 0
    straight, resumed = last_state(folder / "straight"), last_state(folder / "run")
    for name, weight in straight["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], weight)
    assert metrics_of(folder / "run") == metrics_of(folder / "straight")


def last_state(folder: Path) -> dict[str, Any]:
    """The checkpoint that a run wrote last, without the times it took, which are no two runs' the same."""
    path = checkpoint.latest(folder / "model")
    assert path is not None
    state = checkpoint.read(path)
    assert state.pop("seconds")["total"] > 0
    return state


def metrics_of(folder: Path) -> dict[str, Any]:
    """The metrics in a run's record."""
    metrics: dict[str, Any] = json.loads((folder / "record.json").read_text())["metrics"]
    return metrics
