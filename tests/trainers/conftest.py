"""Trainers on a small embedding file, built as the train command builds them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.commands import train
from lare_dassl.commands.checks import make_config
from lare_dassl.embeddings.embedding_set import RANDOM_WEIGHTS, EmbeddingSet
from lare_dassl.trainers.base.description import description_of
from tests.helpers import make_domain_tree, shifted_embeddings, train_arguments, write_embeddings, write_tiny_model

QUICK = ("OPTIM.MAX_EPOCH", 6, "DATALOADER.TRAIN_X.BATCH_SIZE", 16)
QUICK_REGIONS = ("TRAINER.LARE.EPOCHS", 3, "TRAINER.LARE.HIDDEN_DIM", 8)
QUICK_STAGES = {"TRAINER.LARE": QUICK_REGIONS, "TRAINER.LADS": ("TRAINER.LADS.EPOCHS", 3, "TRAINER.LADS.HIDDEN_DIM", 8)}


@pytest.fixture(scope="session")
def embedding_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embeddings(tmp_path_factory.mktemp("embeddings") / "shifted.safetensors")


@pytest.fixture(scope="session")
def described_embeddings(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingSet:
    """Domains are described, and the metadata name a model of the embeddings' width, which has a text tower."""
    embeddings = shifted_embeddings(described=("photo", "painting", "sketch"))
    assert embeddings.domain_text is not None
    model = write_tiny_model(tmp_path_factory.mktemp("model") / "clip")
    vlm = replace(embeddings.vlm, model=model, pretrained="", weights_sha256=RANDOM_WEIGHTS, embedding_dim=32)
    splits = embeddings.splits().items()
    parts: dict[str, Any] = {name: replace(rows, embedding=_widened(rows.embedding)) for name, rows in splits}
    texts = {"class_text": _widened(embeddings.class_text), "domain_text": _widened(embeddings.domain_text)}
    return replace(embeddings, vlm=vlm, **parts, **texts)


def _widened(rows: torch.Tensor) -> torch.Tensor:
    return F.normalize(torch.cat([rows, 0.1 * rows], dim=-1), dim=-1)


@pytest.fixture(scope="session")
def described_file(described_embeddings: EmbeddingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embeddings(tmp_path_factory.mktemp("embeddings") / "described.safetensors", described_embeddings)


@pytest.fixture
def build(embedding_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`build(trainer, run folder, KEY, VALUE, ...)` gives a trainer of six epochs."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def build_trainer(
        name: str,
        folder: str,
        *overrides: object,
        seed: int = 0,
        resume: str = "",
        root: Path = embedding_file,
        keys: Sequence[object] = ("DATASET.NAME", "EmbeddingFile"),
    ) -> Any:
        flags = ["--trainer", name, "--root", root, "--output-dir", tmp_path / folder, "--seed", seed]
        flags += ["--resume", tmp_path / resume] if resume else []
        method = description_of(name)
        stage_one = QUICK_STAGES.get(method.section, ()) if method else ()
        return train.build_trainer(make_config(train_arguments(*flags, *QUICK, *stage_one, *keys, *overrides)))

    return build_trainer


@pytest.fixture
def build_on_images(request: pytest.FixtureRequest, build: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Like `build`, on a tree of images of two domains, encoded by a CLIP, or by the "coca" that a test asks for."""
    root = make_domain_tree(tmp_path / "data", ("photo", "painting"), ("cat", "brown_owl"), per_class=6)
    name = write_tiny_model(tmp_path / "model", coca=getattr(request, "param", "clip") == "coca")
    model = ("MODEL.BACKBONE.NAME", name, "VLM.ALLOW_RANDOM", True)
    domains = ("DATASET.SOURCE_DOMAINS", "['photo']", "DATASET.TARGET_DOMAINS", "['painting']")
    cache = ("EMBEDDINGS.CACHE_DIR", tmp_path / "cache", "DATALOADER.NUM_WORKERS", 0, "VLM.PRECISION", "fp32")
    return partial(build, root=root, keys=("DATASET.NAME", "DomainFolders", *domains, *model, *cache))
