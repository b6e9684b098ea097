"""Shared by the scripts of this folder: embeddings of CUB's size, runs on them, times side by side, tables."""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor

from lare_dassl import EmbeddingSet, LabelledEmbeddings, VLMIdentity, write_embedding_file
from lare_dassl.commands.checks import make_config
from lare_dassl.commands.console import show
from lare_dassl.commands.train import build_trainer
from lare_dassl.config.request import RunRequest, request_of
from lare_dassl.system.logs import start_logging
from tools.train import read_flags

ROWS, WIDTH, CLASSES, BATCH, HIDDEN = 5994, 768, 200, 256, 384
# So that a linear classifier is right for about 88 % of the test rows, as is reported on CUB.
NOISE = 5.0


def synthetic(rows: int = ROWS, test_rows: int = 4000) -> EmbeddingSet:
    """Embeddings of CUB's width and number of classes: noise around a centre of each class, texts near the centres."""
    generator = torch.Generator().manual_seed(0)

    def near(centres: Tensor, noise: float) -> Tensor:
        spread = torch.randn(centres.shape, generator=generator).mul_(noise / math.sqrt(WIDTH))
        return F.normalize(spread.add_(centres), dim=-1)

    centres = F.normalize(torch.randn(CLASSES, WIDTH, generator=generator), dim=-1)

    def part(size: int) -> LabelledEmbeddings:
        label = torch.arange(size) % CLASSES
        embedding = torch.empty(size, WIDTH)
        for chosen in torch.arange(size).split(10_000):
            embedding[chosen] = near(centres[label[chosen]], NOISE)
        return LabelledEmbeddings(embedding, label, torch.zeros(size, dtype=torch.int64))

    return EmbeddingSet(
        train=part(rows),
        val=None,
        test=part(test_rows),
        class_text=near(centres, 0.5),
        classnames=tuple(f"class {label}" for label in range(CLASSES)),
        domain_names=("synthetic",),
        source_domains=("synthetic",),
        target_domains=(),
        vlm=VLMIdentity("none", "", "", WIDTH, 100.0),
    )


class Runs:
    """Trainers on an embedding file, which is written if it is not there, in a folder that goes with this object."""

    def __init__(self, embeddings: EmbeddingSet | Path) -> None:
        self._place = tempfile.TemporaryDirectory()
        if isinstance(embeddings, Path):
            self.file = embeddings
            return
        self.file = Path(self._place.name) / "embeddings.safetensors"
        write_embedding_file(self.file, embeddings)

    def trainer(self, name: str, *keys: object, seed: int = 0) -> Any:
        """A trainer as tools/train.py builds it, in a new folder, not yet trained."""
        folder = tempfile.mkdtemp(dir=self._place.name)
        words = ["--trainer", name, "--root", self.file, "--seed", seed, "--output-dir", folder]
        pairs = ["DATASET.NAME", "EmbeddingFile", *keys]
        request = request_of(RunRequest, read_flags([str(word) for word in (*words, *pairs)]))
        trainer = build_trainer(make_config(request))
        # A trainer opens the log where there is none.
        logging.disable(logging.CRITICAL)
        return trainer


def seconds(action: Callable[[], Any], device: torch.device | None = None) -> float:
    """How long an action takes, until the device has done all of it."""
    start = time.perf_counter()
    action()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(actions: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each action, measured in turns, after one turn that is not counted."""
    turns = [{name: action() for name, action in actions.items()} for _ in range(repetitions + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in actions}


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and from least to greatest."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def show_ratio(title: str, times: dict[str, list[float]], unit: str = "ms", scale: float = 1000.0) -> None:
    """Print the times of several actions, and the ratio of the first to each of the others."""
    table = Table(title, f"{unit}, median (least to greatest)")
    for name, values in times.items():
        table.add_row(name, spread([scale * value for value in values]))
    first, *others = times
    for other in others:
        ratios = [mine / theirs for mine, theirs in zip(times[first], times[other], strict=True)]
        table.add_row(f"ratio: {first} ÷ {other}", spread(ratios))
    show(table)


def parser(description: str | None, **defaults: int) -> argparse.ArgumentParser:
    """A command line with the flags that the scripts share.

    Args:
        description: the script's docstring, of which the first line is shown.
        defaults: whole numbers that the command line takes too, such as repetitions=3, with their defaults.
    """
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    for name, default in defaults.items():
        made.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    made.add_argument("--threads", type=int, default=1, help="of torch; 0 for as many as it takes by itself")
    return made


def prepare(threads: int) -> None:
    """Set the number of torch's threads, 0 for as it is, and silence the log."""
    if threads:
        torch.set_num_threads(threads)
    start_logging()
    logging.disable(logging.CRITICAL)


def machine() -> str:
    """In a few words, what is measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads"
