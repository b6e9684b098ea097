from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.io import locks
from lare_dassl.results.record import read_record
from tests.helpers import run_train, write_embeddings


@pytest.fixture
def train(tmp_path, monkeypatch):
    """`train(FLAG, VALUE, ..., KEY, VALUE, ...)` on a small embedding file, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    write_embeddings(tmp_path / "data.safetensors")
    return lambda *words: run_train("--root", "data.safetensors", *words, "DATASET.NAME", "EmbeddingFile")


def names_in(folder):
    return {entry.name for entry in Path(folder).iterdir()}


def table_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]


def test_no_train_builds_and_stops(train, capsys):
    assert train("--trainer", "LARE", "--output-dir", "out", "--no-train") == 0
    assert "LARE on EmbeddingFile, host: " in capsys.readouterr().out
    assert names_in("out") == {".lock", "log.txt"}


def test_eval_only_shows_the_figures_of_training(train, capsys):
    words = ("--trainer", "FineTune", "--seed", 0)
    keys = ("OPTIM.MAX_EPOCH", 4, "TEST.FINAL_MODEL", "best_val")
    assert train(*words, "--output-dir", "run", *keys) == 0
    trained = table_of(capsys)
    assert train(*words, "--eval-only", "--model-dir", "run", *keys) == 0
    assert table_of(capsys) == trained and len(trained) == 8
    left = {"classifier.safetensors", "predictions.safetensors", "record.json", "split.json"}
    assert names_in("run") == left | {".lock", "log.txt", "model", "tensorboard"}


def test_eval_only_writes_a_record_into_a_given_folder(train):
    # The training rows follow from the seed too, which the second command takes from the run.
    keys = ("OPTIM.MAX_EPOCH", 2, "DATASET.NUM_SHOTS", 2)
    assert train("--trainer", "FineTune", "--seed", 3, "--output-dir", "run", *keys) == 0
    tested = ("--trainer", "FineTune", "--eval-only", "--model-dir", "run")
    assert train(*tested, *keys) == 0
    assert not Path("output").exists()
    assert train(*tested, "--output-dir", "eval", *keys) == 0
    first, second = (read_record(Path(folder) / "record.json") for folder in ("run", "eval"))
    assert first.metrics == second.metrics
    assert first.seed == second.seed == 3
    assert Path("run/split.json").read_bytes() == Path("eval/split.json").read_bytes()


def test_the_log_holds_what_was_printed(train, capsys):
    assert train("--trainer", "ZeroShot", "--output-dir", "out", "--seed", 0) == 0
    output = capsys.readouterr().out
    assert Path("out/log.txt").read_text() == output
    assert output.count("record: ") == 1


def test_a_second_training_in_the_same_folder_is_refused(train, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    words = ("--trainer", "ZeroShot", "--seed", 0, "--output-dir", "out")
    Path("out").mkdir()
    with locks.only_one(Path("out/.lock"), "trains there"):
        assert train(*words) == 2
    refusal = "error: another process is at work in out (--output-dir): wait for its end, or give another folder\n"
    assert capsys.readouterr().err == refusal
    assert names_in("out") == {".lock"}
    assert train(*words) == 0
