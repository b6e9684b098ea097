"""tools/benchmark.py as a user runs it, in processes of its own; tests/faults kills it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.commands.benchmark.conftest import metrics_below
from tests.helpers import write_embeddings
from tests.tools.test_train_command import ROOT

RUNS = 12
# Long enough for some runs to be left when the first ones are done.
SETTINGS = ("OPTIM.MAX_EPOCH", 100, "DATALOADER.TRAIN_X.BATCH_SIZE", 4, "TRAINER.LARE.EPOCHS", 50)


def start(folder: Path, output: str, jobs: int) -> subprocess.Popen[str]:
    """The benchmark in a process group of its own, writing to folder/output."""
    words = [sys.executable, ROOT / "tools" / "benchmark.py", "--output-dir", output, "--jobs", jobs]
    words += ["--dataset-config-file", ROOT / "configs" / "embedding_file.yaml", "--root", "data.safetensors"]
    words += ["--trainers", "ZeroShot", "FineTune", "LARE", "--shots", 2, 4, "--seeds", 2, *SETTINGS]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "TQDM_DISABLE": ""}
    # Tests that run in the background of a shell ignore Ctrl-C, and so would every process that they start.
    hearing = {"preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL), "start_new_session": True}
    return subprocess.Popen(list(map(str, words)), cwd=folder, env=environment, **streams, **hearing)


def interrupt_at(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Give Ctrl-C to all of the benchmark's processes as soon as `count` of its runs have begun."""
    until = time.monotonic() + 120
    while sum("log.txt" in files for _, _, files in os.walk(folder)) < count and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)


def test_ctrl_c_is_one_line_and_keeps_what_is_done(tmp_path):
    write_embeddings(tmp_path / "data.safetensors")
    process = start(tmp_path, "undisturbed", jobs=1)
    shown, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"{RUNS} runs: 0 are done, {RUNS} to do" in shown
    assert f"{RUNS}/{RUNS}" in errors
    process = start(tmp_path, "interrupted", jobs=2)
    interrupt_at(process, tmp_path / "interrupted", 4)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in re.split(r"[\r\n]+", errors) if line and not line.startswith("runs, 2 at a time")]
    assert lines == ["interrupted: the same command goes on from what is done"]
    kept = metrics_below(tmp_path / "interrupted")
    assert 0 < len(kept) < RUNS
    assert kept.items() <= metrics_below(tmp_path / "undisturbed").items()
