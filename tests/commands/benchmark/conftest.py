"""Benchmarks of quick runs on a small embedding file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lare_dassl.config.request import BenchmarkRequest
from tests.helpers import benchmark_request, kept_process, write_embeddings

QUICK = ("OPTIM.MAX_EPOCH", 4, "DATALOADER.TRAIN_X.BATCH_SIZE", 16, "DATASET.NAME", "EmbeddingFile")


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., BenchmarkRequest]:
    """`words(FLAG, VALUE, ...)` reads a command line of tools/benchmark.py, with quick runs' settings."""
    file = tmp_path / "data.safetensors"
    write_embeddings(file)

    def read(*flags: object, pairs: tuple[object, ...] = ()) -> BenchmarkRequest:
        common = ("--root", file, "--jobs", 1, "--output-dir", tmp_path / "out")
        return benchmark_request(*flags, *common, *QUICK, *pairs)

    return read


@pytest.fixture(autouse=True)
def _kept_process() -> Iterator[None]:
    """Undo what a benchmark changes of the process for good."""
    with kept_process():
        yield


def metrics_below(folder: Path) -> dict[str, Any]:
    """The metrics of every record below a folder, by the place of the run in it."""
    records = sorted(folder.rglob("record.json"))
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text())["metrics"] for path in records}
