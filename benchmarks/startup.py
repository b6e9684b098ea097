"""Seconds from the start of tools/train.py to its first training step, when everything is cached.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# Runs in a process of its own: the tool, which ends at its first step.
CHILD = """
import os, sys, time
from lare_dassl.commands.train import train
from lare_dassl.config.request import RunRequest, request_of
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer
from tools.train import read_flags

def first_step(*_):
    sys.stderr.write(f"FIRST STEP {time.time()}")
    sys.stderr.flush()
    os._exit(0)

EmbeddingTrainer.forward_backward = first_step
train(request_of(RunRequest, read_flags(sys.argv[1:])))
"""
OURS = ("lare_dassl", "tools", "__main__")
IMPORTED = re.compile(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", re.MULTILINE)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the start of tools/train.py on the demo world.")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--trainer", default="FineTune")
    return parser.parse_args()


def start(arguments: list[str]) -> tuple[float, float]:
    """Start the tool; gives the seconds up to its first step, and of these what importing other packages takes."""
    begun = time.time()
    command = [sys.executable, "-X", "importtime", "-c", CHILD, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    before, _, end = done.stderr.partition("FIRST STEP ")
    if not end:
        raise SystemExit(f"tools/train.py did not get to its first step:\n{done.stdout}{done.stderr[-2000:]}")
    imports = IMPORTED.findall(before)
    others = sum(int(microseconds) for microseconds, name in imports if name.split(".")[0] not in OURS)
    return float(end) - begun, others / 1e6


def main() -> None:
    """Fill the cache with a first start, and measure those after it."""
    from rich.table import Table

    from lare_dassl.commands.console import show

    parsed = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--trainer", parsed.trainer, "--dataset-config-file", "configs/demo.yaml", "--seed", "0"]
        arguments += ["--output-dir", f"{folder}/run", "EMBEDDINGS.CACHE_DIR", f"{folder}/cache"]
        start(arguments)
        runs = [start(arguments) for _ in range(parsed.repetitions)]
    table = Table(f"start of {parsed.trainer} on the demo world, {len(runs)} repetitions", "s (median)")
    table.add_row("Python and the import of other packages", f"{statistics.median(others for _, others in runs):.2f}")
    table.add_row("our own code", f"{statistics.median(whole - others for whole, others in runs):.2f}")
    table.add_row("all, to the first training step", f"{statistics.median(whole for whole, _ in runs):.2f}")
    show(table)


if __name__ == "__main__":
    main()
