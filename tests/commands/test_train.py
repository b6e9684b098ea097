from __future__ import annotations

from pathlib import Path

from lare_dassl.io import locks
from lare_dassl.results.record import read_record
from tests.helpers import run_train, write_embeddings


def test_no_train_builds_and_stops(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "LARE", "--root", path, "--output-dir", tmp_path / "out", "--no-train")
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
    assert "LARE on EmbeddingFile, host: " in capsys.readouterr().out
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [".lock", "log.txt"]


def test_eval_only_shows_the_figures_of_training(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "FineTune", "--root", path, "--seed", 0)
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 4, "TEST.FINAL_MODEL", "best_val")
    assert run_train(*words, "--output-dir", tmp_path / "run", *keys) == 0
    trained = table_of(capsys)
    assert run_train(*words, "--eval-only", "--model-dir", tmp_path / "run", *keys) == 0
    assert table_of(capsys) == trained and len(trained) == 8
    files = {entry.name for entry in (tmp_path / "run").iterdir()}
    left = {"classifier.safetensors", "predictions.safetensors", "record.json", "split.json"}
    assert files == left | {".lock", "log.txt", "model", "tensorboard"}


def test_eval_only_writes_a_record_into_a_given_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "FineTune", "--root", path)
    # The training rows follow from the seed too, which the second command takes from the run.
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 2, "DATASET.NUM_SHOTS", 2)
    assert run_train(*words, "--seed", 3, "--output-dir", "run", *keys) == 0
    assert run_train(*words, "--eval-only", "--model-dir", "run", *keys) == 0
    assert not Path("output").exists()
    assert run_train(*words, "--eval-only", "--model-dir", "run", "--output-dir", "eval", *keys) == 0
    first, second = (run_record(Path(folder)) for folder in ("run", "eval"))
    assert first.metrics == second.metrics
    assert first.seed == second.seed == 3
    assert Path("run/split.json").read_bytes() == Path("eval/split.json").read_bytes()


def run_record(folder):
    return read_record(folder / "record.json")


def table_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]


def test_the_log_holds_what_was_printed(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "ZeroShot", "--root", path, "--output-dir", tmp_path / "out", "--seed", 0)
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
    output = capsys.readouterr().out
    assert (tmp_path / "out" / "log.txt").read_text() == output
    assert output.count("record: ") == 1


def test_a_second_training_in_the_same_folder_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "ZeroShot", "--root", path, "--seed", 0, "--output-dir", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with locks.only_one(tmp_path / "out" / ".lock", "trains there"):
        assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 2
    folder = f"{tmp_path}/out (--output-dir)"
    line = f"error: another process is at work in {folder}: wait for its end, or give another folder\n"
    assert capsys.readouterr().err == line
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [".lock"]
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
