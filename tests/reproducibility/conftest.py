from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_tiny_model
from tests.reproducibility.leaving import left_by

# A name that no ASCII locale can write.
CLASSES = ("köter", "dog 10", "dog 9")
QUICK = ("OPTIM.MAX_EPOCH", 5, "DATALOADER.TRAIN_X.BATCH_SIZE", 16)
REGIONS = ("TRAINER.LARE.EPOCHS", 3, "TRAINER.LARE.HIDDEN_DIM", 8)
QUICK_STAGES = {
    "LARE": REGIONS,
    "RegionCentre": REGIONS,
    "LADS": ("TRAINER.LADS.EPOCHS", 3, "TRAINER.LADS.HIDDEN_DIM", 8),
}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """A number of torch's threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Unless a test says otherwise, so that the tests here mean the same on every machine."""
    with torch_threads(1):
        yield


def on_embeddings(trainer: str, file: object) -> list[object]:
    """The words of a quick run on an embedding file."""
    settings = (*QUICK, *QUICK_STAGES.get(trainer, ()), "DATASET.NAME", "EmbeddingFile")
    return ["--trainer", trainer, "--root", file, "--seed", 3, *settings]


@pytest.fixture(scope="session")
def embedding_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings of domains that are described too."""
    described = shifted_embeddings(described=["photo", "painting", "sketch"])
    return write_embeddings(tmp_path_factory.mktemp("embeddings") / "shifted.safetensors", described)


@pytest.fixture(scope="session")
def straight(embedding_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """`straight(trainer, KEY, VALUE, ...)`: what a run on the embedding file leaves that nothing disturbs, run once."""
    done: dict[tuple[object, ...], dict[str, Any]] = {}

    def left(trainer: str, *overrides: object) -> dict[str, Any]:
        if (trainer, *overrides) not in done:
            folder = tmp_path_factory.mktemp("straight")
            assert run_train("--output-dir", folder, *on_embeddings(trainer, embedding_file), *overrides) == 0
            done[(trainer, *overrides)] = left_by(folder)
        return done[(trainer, *overrides)]

    return left


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """<world>/images, a tree of photos and sketches, and <world>/model, a tiny model of random weights."""
    folder = tmp_path_factory.mktemp("world")
    make_domain_tree(folder / "images", ["photo", "sketch"], CLASSES, per_class=10)
    write_tiny_model(folder / "model")
    return folder


def on_images(world: Path, cache: object, images: Path | None = None) -> list[object]:
    """The words of a quick LARE on a world's photos, or on those of a copy of its images."""
    domains = ("--source-domains", "photo", "--target-domains", "sketch", "--seed", 3)
    flags = ("--trainer", "LARE", "--root", images or world / "images", "--backbone", f"local-dir:{world}/model")
    vlm = ("VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32", "EMBEDDINGS.CACHE_DIR", cache)
    return [*flags, *domains, *QUICK, *REGIONS, "DATASET.NAME", "DomainFolders", *vlm]


@pytest.fixture(scope="session")
def images_left(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run on the world's images leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_train("--output-dir", folder / "run", *on_images(world, folder / "cache")) == 0
    return left_by(folder / "run")


@pytest.fixture
def _listings_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every listing of a folder comes the other way round: a file system promises no order."""
    plain_list, plain_scan = os.listdir, os.scandir

    class Backwards(ExitStack):
        def __init__(self, *path: Any) -> None:
            super().__init__()
            with plain_scan(*path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

        def __iter__(self) -> Any:
            return self.entries

        def __next__(self) -> Any:
            return next(self.entries)

    monkeypatch.setattr(os, "listdir", lambda *path: sorted(plain_list(*path), reverse=True))
    monkeypatch.setattr(os, "scandir", Backwards)
    monkeypatch.setattr(sys, "path", list(sys.path))
