"""Seeds of one setting, trained at once by a benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lare_dassl.commands import train
from lare_dassl.commands.benchmark.command import benchmark, carry_out_all
from lare_dassl.commands.benchmark.execution import units
from lare_dassl.commands.benchmark.plan import make_plan
from lare_dassl.errors import InputError
from lare_dassl.io import locks
from tests.commands.benchmark.conftest import metrics_below

SEEDS = ("--trainers", "FineTune", "--together", "yes", "--seeds")


def together_of(folder):
    return [json.loads(path.read_text())["machine"]["together"] for path in sorted(folder.rglob("record.json"))]


def test_seeds_are_trained_together_where_the_method_can(words, tmp_path):
    methods, quick = ("--trainers", "ZeroShot", "LARE", "--seeds", 3), ("TRAINER.LARE.EPOCHS", 3)
    carry_out_all(words(*methods, "--together", "yes", pairs=quick))
    together = metrics_below(tmp_path / "out")
    assert together_of(tmp_path / "out") == [3, 3, 3, 1, 1, 1]
    (tmp_path / "out").rename(tmp_path / "first")
    carry_out_all(words(*methods, "--together", "no", pairs=quick))
    alone = metrics_below(tmp_path / "out")
    assert together_of(tmp_path / "out") == [1] * 6
    assert together.keys() == alone.keys()
    for place, metrics in alone.items():
        assert together[place]["accuracy"] == pytest.approx(metrics["accuracy"], abs=3.0)
    first, second, _ = sorted((tmp_path / "first").rglob("LARE*/**/log.txt"))
    assert "seed 2: epoch 4/4" in first.read_text()
    assert f"see {tmp_path / 'out'}" in second.read_text()


def test_runs_of_other_settings_are_no_unit(words):
    runs = make_plan(words("--trainers", "FineTune", "LARE", "--shots", 2, 4, "--seeds", 2)).runs
    assert [len(unit) for unit in units(runs, together=True)] == [2] * 4
    assert [len(unit) for unit in units(runs)] == [1] * 8


def test_what_fails_together_is_tried_alone_and_each_failure_is_named(words, capsys):
    diverging = ("OPTIM.NAME", "sgd", "OPTIM.LR", 1e18)
    with pytest.raises(InputError, match="2 of 2 runs failed"):
        benchmark(words(*SEEDS, 2, pairs=diverging))
    failures = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed:")]
    assert len(failures) == 2
    assert all("the loss is" in line and "lower OPTIM.LR" in line for line in failures)


def test_finished_seeds_are_not_trained_again(words, tmp_path):
    carry_out_all(words(*SEEDS, 1))
    carry_out_all(words(*SEEDS, 3))
    assert together_of(tmp_path / "out") == [1, 2, 2]


def test_a_run_whose_folder_is_in_use_is_refused_and_the_others_are_done(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    command = words(*SEEDS, 2)
    folder = make_plan(command).runs[1].folder
    folder.mkdir(parents=True)
    with locks.only_one(folder / ".lock", "trains there"), pytest.raises(InputError, match="1 of 2 runs failed"):
        benchmark(command)
    assert f"another process is at work in {folder}" in capsys.readouterr().err
    assert together_of(tmp_path / "out") == [1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_log_that_cannot_be_written_loses_no_run(words, tmp_path):
    command = words(*SEEDS, 2)
    folder = make_plan(command).runs[1].folder
    folder.mkdir(parents=True)
    (folder / "log.txt").symlink_to("/dev/full")
    assert carry_out_all(command).failed == []
    assert together_of(tmp_path / "out") == [2, 2]


def test_a_method_that_is_not_joint_is_built_once_a_run_and_its_log_is_its_own(words, tmp_path, monkeypatch):
    built, build = [], train.build_trainer
    monkeypatch.setattr(train, "build_trainer", lambda cfg: built.append(cfg.SEED) or build(cfg))
    carry_out_all(words("--trainers", "ZeroShot", "--seeds", 3, "--together", "yes"))
    assert built == [0, 1, 2]
    assert not any("trained together" in path.read_text() for path in (tmp_path / "out").rglob("log.txt"))
