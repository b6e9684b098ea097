from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lare_dassl.commands.benchmark import command
from lare_dassl.commands.benchmark.one_run import ForeignRecordError, carry_out, finished_record
from lare_dassl.commands.benchmark.plan import make_plan
from lare_dassl.errors import InputError, exit_code
from lare_dassl.io import locks
from lare_dassl.report.runs.collect import collect
from lare_dassl.trainers import FineTune
from tests.commands.benchmark.conftest import metrics_below
from tests.helpers import shifted_embeddings, write_embeddings

ONE = ("--trainers", "ZeroShot", "--seeds", 1)
TWO = ("--trainers", "ZeroShot", "FineTune", "--seeds", 2)


def benchmark(arguments):
    return exit_code(lambda: command.benchmark(arguments))


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}


def test_a_finished_benchmark_runs_nothing_again(words, tmp_path, capsys):
    assert benchmark(words(*TWO)) == 0
    assert "4 runs: 0 are done, 4 to do" in capsys.readouterr().out
    before = times(tmp_path / "out")
    assert len(before) == 4
    assert benchmark(words(*TWO)) == 0
    shown = capsys.readouterr()
    assert "4 runs: 4 are done, 0 to do" in shown.out
    assert "FineTune" in shown.out
    assert shown.err == ""
    assert times(tmp_path / "out") == before
    # A longer benchmark runs what is new.
    assert benchmark(words("--trainers", "FineTune", "ZeroShot", "--shots", "all", 4, "--seeds", 3)) == 0
    assert "12 runs: 4 are done, 8 to do" in capsys.readouterr().out
    after = times(tmp_path / "out")
    assert len(after) == 12
    assert before.items() <= after.items()


def test_a_truncated_record_is_named_and_its_run_done_again(words, tmp_path, capsys):
    assert benchmark(words(*TWO)) == 0
    whole = metrics_below(tmp_path / "out")
    path = sorted((tmp_path / "out").rglob("record.json"))[1]
    path.write_text(path.read_text()[:500])
    capsys.readouterr()
    assert benchmark(words(*TWO)) == 0
    shown = capsys.readouterr()
    assert "4 runs: 3 are done, 1 to do" in shown.out
    assert shown.err.startswith(f"run again: cannot read the record {path}: ")
    assert metrics_below(tmp_path / "out") == whole


@pytest.mark.parametrize("content", ['{"format": "record/1"}', "[]", '{"format": "record/2"}'])
def test_a_record_without_its_fields_is_no_finished_run(words, content):
    (planned,) = make_plan(words(*ONE)).runs
    planned.folder.mkdir(parents=True)
    (planned.folder / "record.json").write_text(content)
    with pytest.raises(InputError, match=r"record\.json"):
        finished_record(planned)


def test_a_foreign_record_fails_its_run_and_stays(words, tmp_path, capsys):
    assert benchmark(words(*TWO)) == 0
    runs = make_plan(words(*TWO)).runs
    path, other = (planned.folder / "record.json" for planned in (runs[2], runs[3]))
    path.write_bytes(other.read_bytes())
    with pytest.raises(ForeignRecordError, match="SEED is 1 there and 0 here"):
        finished_record(runs[2])
    other.unlink()
    capsys.readouterr()
    assert benchmark(words(*TWO)) == 2
    shown = capsys.readouterr()
    assert "4 runs: 2 are done, 1 to do" in shown.out
    reason = "is the record of another run (SEED is 1 there and 0 here): move it away or delete it"
    assert f"failed: {path.parent}: {path} {reason}\n" in shown.err
    assert json.loads(path.read_text())["seed"] == 1
    assert other.exists()
    assert "1 of 2, 1 missing" in shown.out


def test_a_failure_is_named_last_and_mended_by_the_next_command(words, tmp_path, capsys, monkeypatch):
    def fail(self, directory):
        if self.seed == 0:
            raise InputError("no luck today")

    with monkeypatch.context() as patched:
        patched.setattr(FineTune, "prepare_training", fail)
        assert benchmark(words(*TWO)) == 2
    shown = capsys.readouterr()
    folder = make_plan(words(*TWO)).runs[2].folder
    assert shown.err.splitlines()[-2:] == [
        f"failed: {folder}: no luck today",
        "error: 1 of 4 runs failed (see the lines above), all else is done: the same command, mended, runs the rest",
    ]
    collection = collect(tmp_path / "out")
    assert (collection.problems, len(collection.runs)) == ((), 3)
    assert planned_in(tmp_path / "out") == [("ZeroShot", 0), ("ZeroShot", 1), ("FineTune", 0), ("FineTune", 1)]
    assert benchmark(words(*TWO)) == 0
    assert "4 runs: 3 are done, 1 to do" in capsys.readouterr().out
    assert len(times(tmp_path / "out")) == 4


def planned_in(folder):
    return [(planned.trainer, planned.seed) for planned in collect(folder).planned]


def test_an_unknown_trainer_among_others_is_named_and_the_others_run(words, tmp_path, capsys):
    assert benchmark(words("--trainers", "ZeroShot", "FienTune", "FineTune", "--seeds", 1)) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("refused: unknown trainer 'FienTune': did you mean 'FineTune'?")
    assert shown.err.count("refused: unknown trainer 'FienTune'") == 2
    assert shown.err.splitlines()[-1].startswith("error: 1 of the command's parts refused (see the lines above)")
    assert len(times(tmp_path / "out")) == 2


def test_where_nothing_can_run_the_reason_is_all_there_is(words, tmp_path, capsys):
    assert benchmark(words("--trainers", "FienTune", "--seeds", 1)) == 2
    assert capsys.readouterr().err.startswith("error: unknown trainer 'FienTune'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--jobs", "--threads"])
def test_no_jobs_are_refused(words, flag):
    with pytest.raises(InputError, match=f"^{flag} must be at least 1, not 0$"):
        replace(words(*TWO), **{flag.removeprefix("--"): 0})


def test_a_later_command_adds_to_the_plan(words, tmp_path):
    assert benchmark(words(*TWO)) == 0
    runs = make_plan(words(*TWO)).runs
    for planned in runs[2:]:
        (planned.folder / "record.json").unlink()
    assert benchmark(words("--trainers", "ZeroShot", "LARE", "--seeds", 1)) == 0
    now, before = [("ZeroShot", 0), ("LARE", 0)], [("ZeroShot", 1), ("FineTune", 0), ("FineTune", 1)]
    assert planned_in(tmp_path / "out") == now + before
    table = (tmp_path / "out" / "report" / "tables.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith("| FineTune ") and "missing" in line)
    assert "0 of 2" in row


def test_a_changed_file_takes_the_place_of_its_old_runs(words, tmp_path):
    assert benchmark(words(*ONE)) == 0
    old = make_plan(words(*ONE)).runs[0].folder
    write_embeddings(tmp_path / "data.safetensors", shifted_embeddings(with_val=False))
    assert benchmark(words(*ONE)) == 0
    (new,) = make_plan(words(*ONE)).runs
    assert new.folder != old
    collection = collect(tmp_path / "out")
    assert [run.folder for run in collection.runs] == [new.folder]
    assert len(collection.planned) == 1


def test_an_interruption_keeps_what_is_done(words, tmp_path, capsys, monkeypatch):
    def interrupt(self, directory):
        if self.seed == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FineTune, "prepare_training", interrupt)
        assert benchmark(words(*TWO)) == 130
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == "interrupted: the same command goes on from what is done"
    assert len(times(tmp_path / "out")) == 3
    assert benchmark(words(*TWO)) == 0


def test_the_demo_runs_all_methods_and_seeds(tmp_path, capsys, monkeypatch):
    embeddings = shifted_embeddings(described=("photo", "painting", "sketch"))
    file = write_embeddings(tmp_path / "data.safetensors", embeddings)
    config = tmp_path / "small.yaml"
    stages = "{LARE: {EPOCHS: 2}, LADS: {EPOCHS: 2}}"
    config.write_text(f"DATASET: {{NAME: EmbeddingFile}}\nOPTIM: {{MAX_EPOCH: 2}}\nTRAINER: {stages}\n")
    monkeypatch.setattr(command, "suited_jobs", lambda *_: 1)
    command.compare_on_demo(config, 2, str(file), tmp_path / "out")
    found = {(record.trainer, record.seed) for record in collect(tmp_path / "out").records}
    assert found == {(name, seed) for name in ("FineTune", "LADS", "LARE", "ZeroShot") for seed in (0, 1)}
    shown = capsys.readouterr().out
    assert "painting" in shown
    assert f"records: {tmp_path}/out/<dataset>/<method>/<settings>/seed<k>/record.json" in shown
    assert f"report: {tmp_path}/out/report.html" in shown
    assert "<html" in (tmp_path / "out" / "report.html").read_text()


def test_the_demo_refuses_no_seeds(tmp_path):
    with pytest.raises(InputError, match="--seeds must be at least 1, not 0"):
        command.compare_on_demo(tmp_path / "demo.yaml", 0, str(tmp_path), tmp_path / "out")


def test_a_second_benchmark_in_the_same_folder_is_refused(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    (tmp_path / "out").mkdir()
    with locks.only_one(tmp_path / "out" / ".lock", "runs a benchmark there"):
        assert benchmark(words(*TWO)) == 2
    folder = f"{tmp_path}/out (--output-dir)"
    assert capsys.readouterr().err == f"error: another process is at work in {folder}: wait for its end\n"
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_report_that_cannot_be_written_is_an_error_and_the_runs_are_kept(words, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report").write_text("")
    assert benchmark(words(*ONE)) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: cannot write to {tmp_path}/out/report (--outp")
    assert len(list((tmp_path / "out").rglob("record.json"))) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_run_whose_log_cannot_be_written_is_run(words, tmp_path):
    planned = make_plan(words("--trainers", "FineTune", "--seeds", 1)).runs[0]
    planned.folder.mkdir(parents=True)
    (planned.folder / "log.txt").symlink_to("/dev/full")
    assert carry_out(planned) == ""
    assert finished_record(planned) is not None
