"""Killing a run at a chosen point, and reading what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lare_dassl.io import checkpoint


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


def last_state(folder: Path) -> dict[str, Any]:
    """The checkpoint that a run wrote last, without the times it took, which are no two runs' the same."""
    path = checkpoint.latest(folder / "model")
    assert path is not None
    state = checkpoint.read(path)
    assert state.pop("seconds")["total"] > 0
    return state


def record_of(folder: Path) -> dict[str, Any]:
    """The record of a run."""
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return record


def metrics_of(folder: Path) -> Any:
    """The metrics in a run's record."""
    return record_of(folder)["metrics"]
