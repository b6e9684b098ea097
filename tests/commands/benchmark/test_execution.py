"""Runs side by side, in spawned processes: slow to start, so one benchmark serves all that can be asked of it."""

from __future__ import annotations

import json
import signal
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from lare_dassl.commands.benchmark import execution
from lare_dassl.commands.benchmark.execution import Worker, outcomes, suited_jobs, units
from lare_dassl.commands.benchmark.plan import make_plan
from tests.reproducibility.conftest import torch_threads
from tests.reproducibility.leaving import different, left_by

PLUGIN = """
import os
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import FineTune


@TRAINER_REGISTRY.register()
class MortalProbe(FineTune):
    def prepare_training(self, directory):
        if self.seed == 1:
            os._exit(9)


@TRAINER_REGISTRY.register()
class FaultyProbe(FineTune):
    def prepare_training(self, directory):
        raise ZeroDivisionError("no\\nmercy")
"""


@pytest.fixture(autouse=True)
def _plugin(tmp_path, monkeypatch):
    (tmp_path / "mortal_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)


def all_left_below(folder):
    """The files that every run below a folder leaves, by the place of the run in it."""
    runs = sorted(path.parent for path in folder.rglob("record.json"))
    return {f"{run.relative_to(folder)}: {name}": value for run in runs for name, value in left_by(run).items()}


def test_side_by_side_gives_the_same_bytes_and_a_dead_process_fails_its_own_run(words, tmp_path):
    mortal = ("--plugin", "mortal_plugin", "--trainers", "MortalProbe", "FaultyProbe", "LARE", "--seeds", 3)
    runs = make_plan(words(*mortal, pairs=("TRAINER.LARE.EPOCHS", 3))).runs
    ended = list(outcomes(units(runs), jobs=2, threads=1))
    reasons = {(run.trainer, run.facts.seed): reason for run, reason in ended if reason}
    assert reasons == {
        **{("FaultyProbe", seed): "ZeroDivisionError: no mercy" for seed in range(3)},
        ("MortalProbe", 1): "its process died: was it killed, or out of memory?",
    }
    beside = all_left_below(tmp_path / "out")
    assert sum(name.endswith(": metrics") for name in beside) == 5

    (tmp_path / "out").rename(tmp_path / "first")
    survivors = [run for run, reason in ended if not reason]
    with torch_threads(3):
        assert [reason for _, reason in outcomes(units(survivors), jobs=1, threads=1)] == [""] * 5
        assert torch.get_num_threads() == 3
    assert different(all_left_below(tmp_path / "out"), beside) == []


def test_a_run_keeps_its_log_and_prints_nothing(words, tmp_path, capfd):
    runs = make_plan(words("--plugin", "mortal_plugin", "--trainers", "FineTune", "FaultyProbe", "--seeds", 1)).runs
    reasons = [reason for _, reason in outcomes(units(runs), jobs=1, threads=1)]
    assert reasons == ["", "ZeroDivisionError: no mercy"]
    assert capfd.readouterr() == ("", "")
    good, bad = ((run.folder / "log.txt").read_text() for run in runs)
    assert "epoch 4/4" in good
    assert "record: " in good
    assert "Traceback" in bad
    assert json.loads((runs[0].folder / "record.json").read_text())["config"]["OUTPUT_DIR"] == str(runs[0].folder)


def test_there_are_never_more_jobs_than_runs_nor_fewer_than_one(monkeypatch):
    monkeypatch.setattr("lare_dassl.commands.benchmark.execution.usable_cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [suited_jobs(3, 1), suited_jobs(100, 1), suited_jobs(100, 3), suited_jobs(100, 16)] == [3, 8, 2, 1]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert suited_jobs(100, 1) == 4


class Pool:
    """Processes that have died take no run; others give one a future."""

    def __init__(self, dead):
        self.dead = dead

    def submit(self, *_):
        if self.dead:
            raise BrokenProcessPool
        future = Future()
        future.set_result([""])
        return future


@pytest.mark.parametrize("system", ["with signal masks", "without"])
def test_a_process_that_died_while_it_had_no_run_is_replaced(monkeypatch, system):
    if system == "without":
        monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    pools = iter([Pool(dead=True), Pool(dead=False)])
    monkeypatch.setattr(execution, "ProcessPoolExecutor", lambda *_, **__: next(pools))
    worker = Worker(0, 1, None)
    assert worker.reasons(worker.start((None,)), (None,)) == [""]
    assert next(pools, None) is None
