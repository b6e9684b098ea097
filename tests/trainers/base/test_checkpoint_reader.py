"""A checkpoint of an earlier run is read and hashed once, whatever is checked."""

from __future__ import annotations

from collections import Counter

import pytest

from lare_dassl.io import checkpoint
from lare_dassl.trainers.base.checkpoint_reader import CheckpointReader
from tests.helpers import run_train
from tests.trainers.conftest import QUICK, QUICK_REGIONS
from tests.trainers.interruption import train_until


@pytest.fixture
def reads(monkeypatch):
    """How often each checkpoint is read from disk, by folder and name."""
    counts, real = Counter(), checkpoint.read

    def read(path):
        counts["/".join(path.absolute().parts[-3:])] += 1
        return real(path)

    monkeypatch.setattr(checkpoint, "read", read)
    return counts


def command(trainer, embedding_file, *words):
    regions = QUICK_REGIONS if trainer == "LARE" else ()
    common = ("--trainer", trainer, "--root", embedding_file)
    assert run_train(*common, *words, *QUICK, *regions, "DATASET.NAME", "EmbeddingFile") == 0


@pytest.mark.parametrize(("trainer", "seed"), [("FineTune", ()), ("LARE", ()), ("LARE", ("--seed", 0))])
def test_a_resumed_run_reads_each_checkpoint_once(build, reads, embedding_file, trainer, seed):
    killed = build(trainer, "run", "TRAIN.CHECKPOINT_FREQ", 2)
    folder = killed.output_dir
    train_until(killed, epochs=5)
    reads.clear()
    command(trainer, embedding_file, "--output-dir", folder, *seed, "TRAIN.CHECKPOINT_FREQ", 2)
    stage_one = {"run/regions/model.pth.tar-3": 1} if trainer == "LARE" else {}
    assert reads == {"run/model/model.pth.tar-4": 1} | stage_one


def test_a_tested_model_is_read_once(build, reads, embedding_file, tmp_path):
    build("FineTune", "run").train()
    reads.clear()
    folders = ("--model-dir", tmp_path / "run", "--output-dir", tmp_path / "eval")
    command("FineTune", embedding_file, "--eval-only", *folders)
    assert reads == {"run/model/model.pth.tar-6": 1}


def test_a_file_that_has_changed_is_read_again(reads, tmp_path):
    reader, path = CheckpointReader(), tmp_path / "model.pth.tar-1"
    checkpoint.write({"epoch": 1}, tmp_path, path.name)
    assert reader.read(path) is reader.read(path)
    checkpoint.write({"epoch": 2}, tmp_path, path.name)
    assert reader.take(path) == {"epoch": 2}
    assert sum(reads.values()) == 2
    reader.take(path)
    assert sum(reads.values()) == 3
