"""Trainers on a small embedding file, built as the train command builds them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lare_dassl.commands import train
from lare_dassl.commands.checks import make_config
from tests.helpers import train_arguments, write_embeddings

QUICK = ("OPTIM.MAX_EPOCH", 6, "DATALOADER.TRAIN_X.BATCH_SIZE", 16)
QUICK_REGIONS = ("TRAINER.LARE.EPOCHS", 3, "TRAINER.LARE.HIDDEN_DIM", 8)


@pytest.fixture(scope="session")
def embedding_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embeddings(tmp_path_factory.mktemp("embeddings") / "shifted.safetensors")


@pytest.fixture
def build(embedding_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`build(trainer, run folder, KEY, VALUE, ...)` gives a trainer of six epochs."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def build_trainer(
        name: str, folder: str, *overrides: object, seed: int = 0, resume: str = "", root: Path = embedding_file
    ) -> Any:
        flags = ["--trainer", name, "--root", root, "--output-dir", tmp_path / folder, "--seed", seed]
        flags += ["--resume", tmp_path / resume] if resume else []
        settings = [*QUICK, *(QUICK_REGIONS if name == "LARE" else ()), "DATASET.NAME", "EmbeddingFile"]
        return train.build_trainer(make_config(train_arguments(*flags, *settings, *overrides)))

    return build_trainer
