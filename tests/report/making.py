"""Records and predictions made up for the tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lare_dassl.report.runs.collect import Collection, Run
from lare_dassl.results.predictions import Predictions
from lare_dassl.results.record import FORMAT, METRICS


def record(trainer: str, seed: int, accuracy: float = 60.0, **changes: Any) -> dict[str, Any]:
    """A record of a run on photo and painting, with out-of-domain accuracy 10 below the accuracy, all else 10.

    `changes` replace its fields, or its metrics where they are named so; `settings` holds values by dotted keys.
    """
    metrics = dict.fromkeys(METRICS, 10.0) | {"accuracy": accuracy, "in_domain_accuracy": accuracy}
    metrics |= {"out_of_domain_accuracy": accuracy - 10.0, "domain_accuracy": {}}
    metrics |= {name: changes.pop(name) for name in list(changes) if name in metrics}
    config: dict[str, Any] = {}
    for key, value in changes.pop("settings", {}).items():
        *sections, name = key.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    fields = {"format": FORMAT, "dataset": "DemoWorld", "shots": -1, "imbalance": 1.0, "trainer": trainer, "seed": seed}
    fields |= {"host": "builtin", "vlm": {}, "split": "test"}
    fields |= {"source_domains": ["photo"], "target_domains": ["painting"]}
    fields |= {"split_sha256": "", "samples": {}, "chosen": {}, "seconds": {}, "versions": {}}
    return fields | {"metrics": metrics, "config": config} | changes


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write a record into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def collection_of(*records: dict[str, Any], **attributes: Any) -> Collection:
    """Runs in the folders run0, run1, ...; `attributes` are others of a Collection."""
    runs = tuple(Run(Path(f"run{number}"), content) for number, content in enumerate(records))
    return Collection(Path(), runs, attributes.pop("problems", ()), **attributes)


def predictions(label: list[int], predicted: list[int], confidence: list[float] | None = None) -> Predictions:
    """Predictions on rows of the classes cat, dog and owl, in turn of photo and painting."""
    confidences = torch.tensor(confidence or [0.5] * len(label))
    domain = torch.arange(len(label)) % 2
    names = ("cat", "dog", "owl"), ("photo", "painting")
    return Predictions(torch.tensor(label), domain, torch.tensor(predicted), confidences, *names)
