"""The table of a small demo world, as it was when it was last accepted. `python -m tests.reproducibility.pinned` writes
it anew, after a change that is meant to change it.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL
import torch

from lare_dassl.datasets import demo_world
from tests.helpers import run_train

PROJECT = Path(__file__).parents[2]
PINNED = Path(__file__).with_name("pinned.json")
TRAINERS = ("ZeroShot", "FineTune", "LADS", "LARE")
# Every seventh class, so that each shape and each colour is there.
SCENES = dict(list(demo_world.SCENES.items())[::7])
IMAGES_PER_CLASS = {"train": 6, "val": 2, "test": 5}


def made_with() -> dict[str, str]:
    """What the last digits depend on; where all of it agrees, the figures are the same to the last digit."""
    versions = {"torch": torch.__version__, "numpy": np.__version__, "Pillow": PIL.__version__}
    return versions | {"processor": f"{_processor()} {torch.backends.cpu.get_cpu_capability()}", "threads": "1"}


def _processor() -> str:
    """Maker and family of the processor, where the system tells: torch's libraries choose their kernels by them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join([platform.machine(), *(facts[key] for key in ("vendor_id", "cpu family") if key in facts)])


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """The metrics of each trainer with the settings that it ships with, seed 0, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with mock.patch.multiple(demo_world, SCENES=SCENES, IMAGES_PER_CLASS=IMAGES_PER_CLASS):
            return {trainer: _metrics(folder, trainer) for trainer in TRAINERS}
    finally:
        torch.set_num_threads(before)


def _metrics(folder: Path, trainer: str) -> dict[str, Any]:
    config, output = PROJECT / "configs" / "demo.yaml", folder / trainer
    flags = ("--trainer", trainer, "--dataset-config-file", config, "--root", folder, "--seed", 0)
    assert run_train(*flags, "--output-dir", output, "EMBEDDINGS.CACHE_DIR", folder / "cache") == 0
    metrics: dict[str, Any] = json.loads((output / "record.json").read_text(encoding="utf-8"))["metrics"]
    return metrics


def flat(metrics: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Every figure by its name."""
    figures: dict[str, float] = {}
    for trainer, found in metrics.items():
        by_domain = {f"accuracy on {name}": value for name, value in found["domain_accuracy"].items()}
        overall = {name: value for name, value in found.items() if name != "domain_accuracy"}
        figures |= {f"{trainer}: {name}": value for name, value in (overall | by_domain).items()}
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        content = {"made_with": made_with(), "metrics": measured(Path(temporary))}
    PINNED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"written: {PINNED}\n")
