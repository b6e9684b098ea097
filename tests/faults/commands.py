"""The commands that are disturbed: small, with all that the large ones do; and what they leave, to be compared."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.numpy
import torch

from lare_dassl.commands.benchmark import command as benchmark_command
from lare_dassl.commands.extract import extract
from lare_dassl.commands.train import train
from lare_dassl.datasets import demo_world
from lare_dassl.embeddings.encoder import shard_keeper
from lare_dassl.io import locks
from tests.faults.processes import Process, Steps, fork, start
from tests.helpers import benchmark_request, extract_request, train_arguments

ROOT = Path(__file__).parents[2]
CLASSES = 12
NUMBERS = itertools.count()
TRAINERS = ("FineTune", "LADS", "LARE", "CLIPAdapter", "TipAdapterF", "CrossModal")
QUICK = ("OPTIM.MAX_EPOCH", 24, "DATALOADER.TRAIN_X.BATCH_SIZE", 16)
QUICK += ("TRAINER.LARE.EPOCHS", 30, "TRAINER.LADS.EPOCHS", 30)
CHECKPOINTS = ("TRAIN.CHECKPOINT_FREQ", 3)


@dataclass(frozen=True)
class Command:
    """A command that works in a folder, on files that lie in another.

    Attributes:
        name: for the table.
        tool: file name of its command line.
        carry_out: does what the command line does.
        words: of the command line, from the folder with the data and its own folder.
        outcome: what it has left in its folder, to be compared.
        stages: names of the stages of its course, each with a pattern of the files that the stage has written.
    """

    name: str
    tool: str
    carry_out: Callable[[list[str]], None]
    words: Callable[[Path, Path], tuple[object, ...]]
    outcome: Callable[[Path], Any]
    stages: tuple[tuple[str, str], ...]

    def fork(self, data: Path, folder: Path, steps: Steps | None = None) -> Process:
        """Start it from this process."""

        def command() -> None:
            shrink()
            self.carry_out([*map(str, self.words(data, folder))])

        return fork(command, _errors(folder), steps)

    def start(self, data: Path, folder: Path) -> Process:
        """Start it as a user does."""
        return start([ROOT / "tools" / self.tool, *self.words(data, folder)], _errors(folder))

    def stage(self, folder: Path) -> str:
        """The stage that a killed process had reached, by the files that it has written."""
        reached = [name for name, pattern in self.stages if any(folder.glob(pattern))]
        return reached[-1] if reached else "start"


def shrink() -> None:
    """Make this process work on a smaller demo world, write shards more often, and not wait for others."""
    torch.set_num_threads(1)
    demo_world.SCENES = dict(list(demo_world.SCENES.items())[:CLASSES])
    demo_world.IMAGES_PER_CLASS = {"train": 1, "val": 1, "test": 1}
    shard_keeper.SHARD_ROWS = 8
    locks.PATIENCE_SECONDS = 0.05


def _errors(folder: Path) -> Path:
    """A new file for what a command says; not in its own folder, whose disk may be full."""
    return folder.parent / f"{folder.name}-errors-{next(NUMBERS)}.txt"


def tensors_of(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The tensors of a file, to the last bit."""
    tensors = safetensors.numpy.load_file(path)
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in tensors.items()}


def runs_below(folder: Path) -> dict[str, Any]:
    """All that decides and all that came of each finished run, by its place; of its record what no clock has given."""
    outcomes = {}
    for path in sorted(folder.rglob("record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: record[name] for name in ("metrics", "samples", "split_sha256", "chosen", "seed")}
        files = {name: tensors_of(path.with_name(f"{name}.safetensors")) for name in ("predictions", "classifier")}
        outcomes[path.parent.relative_to(folder).as_posix()] = kept, files
    return outcomes


def _extract_words(data: Path, folder: Path) -> tuple[object, ...]:
    source = ("--dataset-config-file", ROOT / "configs" / "demo.yaml", "--root", folder / "images", "--seed", 0)
    keys = ("EMBEDDINGS.CACHE_DIR", folder / "cache", "EMBEDDINGS.BATCH_SIZE", 8, "DATALOADER.NUM_WORKERS", 1)
    return ("--output", folder / "out.safetensors", *source, *keys)


def _extract_images_words(data: Path, folder: Path) -> tuple[object, ...]:
    domains = ("--source-domains", "photo", "--target-domains", "sketch", "--seed", 0)
    keys = ("DATASET.NAME", "DomainFolders", "EMBEDDINGS.CACHE_DIR", folder / "cache", "EMBEDDINGS.BATCH_SIZE", 8)
    return ("--output", folder / "out.safetensors", "--root", data / "images", "--backbone", "demo", *domains, *keys)


def _on_file(data: Path) -> tuple[object, ...]:
    config = ROOT / "configs" / "embedding_file.yaml"
    return ("--dataset-config-file", config, "--root", data / "data.safetensors")


def _train_words(data: Path, folder: Path) -> tuple[object, ...]:
    run_flags = ("--trainer", "LARE", *_on_file(data), "--output-dir", folder / "out", "--seed", 0)
    return (*run_flags, "TEST.FINAL_MODEL", "best_val", *CHECKPOINTS, *QUICK)


def _benchmark_words(data: Path, folder: Path, jobs: int) -> tuple[object, ...]:
    product = ("--trainers", *TRAINERS, "--shots", 4, "--seeds", 1, "--jobs", jobs)
    return (*product, *_on_file(data), "--output-dir", folder / "out", *CHECKPOINTS, *QUICK)


def _extract_outcome(folder: Path) -> Any:
    file = folder / "out.safetensors"
    return tensors_of(file) if file.exists() else None


ENCODING = (("encoding", "cache/*/*.safetensors"), ("end", "out.safetensors"))
TRAINING = (
    *(("stage 1", "out/**/log.txt"), ("stage 2", "out/**/regions/checkpoint")),
    *(("stage 2, with checkpoints", "out/**/model/checkpoint"), ("record", "out/**/split.json")),
)
EXTRACT = Command(
    "extraction",
    "extract.py",
    lambda words: extract(extract_request(*words)),
    _extract_words,
    _extract_outcome,
    (("rendering", "images/demo_world"), ("loading the model", "images/demo_world/pixel/test"), *ENCODING),
)
EXTRACT_IMAGES = replace(EXTRACT, words=_extract_images_words, stages=ENCODING)
TRAIN = Command(
    "training", "train.py", lambda words: train(train_arguments(*words)), _train_words, runs_below, TRAINING
)


def bench(jobs: int, report: bool = True) -> Command:
    """The benchmark with a number of runs at a time; its report takes most of its time, and may be left out."""

    def carry_out(words: list[str]) -> None:
        if not report:
            benchmark_command.write_report = lambda options: options.output
        benchmark_command.benchmark(benchmark_request(*words))

    return Command(
        "benchmark with report" if report else "benchmark",
        "benchmark.py",
        carry_out,
        lambda data, folder: _benchmark_words(data, folder, jobs),
        runs_below,
        (("runs", "out/*/*/*/*/log.txt"), ("report", "out/report")),
    )
