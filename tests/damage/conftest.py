"""Two short runs of LARE, and all that they leave, to be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import run_train, shifted_embeddings, write_embeddings

KEYS = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 4, "TRAIN.CHECKPOINT_FREQ", 2)
QUICK = (*KEYS, "TRAINER.LARE.EPOCHS", 2, "TRAINER.LARE.HIDDEN_DIM", 8, "TEST.FINAL_MODEL", "best_val")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data.safetensors`, and runs of LARE on it with the seeds 0 and 1 in `runs/0` and `runs/1`."""
    folder = tmp_path_factory.mktemp("damage")
    write_embeddings(folder / "data.safetensors", shifted_embeddings(described=("photo", "sketch")))
    for seed in (0, 1):
        assert train_in(folder / "runs" / str(seed), folder / "data.safetensors", seed) == 0
    return folder


def train_in(output: Path, root: Path, seed: int, *flags: object) -> int:
    """A short training; gives the exit code."""
    words = ("--trainer", "LARE", "--seed", seed, "--root", root, "--output-dir", output)
    return run_train(*words, *flags, *QUICK)
