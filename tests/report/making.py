"""Records and predictions made up for the tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lare_dassl.report.runs.collect import Collection, Run
from lare_dassl.results.plan_file import PlannedRecord
from lare_dassl.results.predictions import Predictions
from lare_dassl.results.record import FORMAT, METRICS, Record
from lare_dassl.results.run_facts import RunFacts


def record(trainer: str, seed: int, accuracy: float = 60.0, **changes: Any) -> Record:
    """A record of a run on photo and painting, with out-of-domain accuracy 10 below the accuracy, all else 10.

    `changes` replace its fields, or its metrics where they are named so; `settings` holds values by dotted keys.
    """
    metrics = dict.fromkeys(METRICS, 10.0) | {"accuracy": accuracy, "in_domain_accuracy": accuracy}
    metrics |= {"out_of_domain_accuracy": accuracy - 10.0, "domain_accuracy": {}}
    metrics |= {name: changes.pop(name) for name in list(changes) if name in metrics}
    fields = {"dataset": "DemoWorld", "shots": -1, "imbalance": 1.0, "trainer": trainer, "seed": seed}
    fields |= {"host": "builtin", "vlm": {}, "split": "test", "metrics": metrics}
    fields |= {"source_domains": ["photo"], "target_domains": ["painting"], "split_sha256": ""}
    fields |= {
        "samples": {},
        "chosen": {},
        "seconds": {},
        "versions": {},
        "config": nested(changes.pop("settings", {})),
    }
    return Record.model_validate(fields | changes)


def changed(run: Record, **changes: Any) -> Record:
    """A record with other fields, or other metrics where they are named so."""
    content = run.model_dump()
    metrics = {name: changes.pop(name) for name in list(changes) if name in content["metrics"]}
    return Record.model_validate(content | {"metrics": content["metrics"] | metrics} | changes)


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration with values by dotted keys."""
    config: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return config


def planned(trainer: str, seed: int, folder: str = "", **changes: Any) -> PlannedRecord:
    """The plan's entry of `record(trainer, seed, **changes)`."""
    facts = record(trainer, seed, **changes).model_dump(include=set(RunFacts.model_fields))
    return PlannedRecord(**facts, folder=folder)


def content_of(run: Record) -> dict[str, Any]:
    """A record as its file holds it, without the checksum."""
    return {"format": FORMAT} | run.model_dump(mode="json", exclude_unset=True)


def write(folder: Path, content: Record | dict[str, Any]) -> Path:
    """Write a record, or what may be none, into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    plain = content_of(content) if isinstance(content, Record) else content
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def collection_of(*records: Record, **attributes: Any) -> Collection:
    """Runs in the folders run0, run1, ...; `attributes` are others of a Collection."""
    runs = tuple(Run(Path(f"run{number}"), content) for number, content in enumerate(records))
    return Collection(Path(), runs, attributes.pop("problems", ()), **attributes)


def predictions(label: list[int], predicted: list[int], confidence: list[float] | None = None) -> Predictions:
    """Predictions on rows of the classes cat, dog and owl, in turn of photo and painting."""
    confidences = torch.tensor(confidence or [0.5] * len(label))
    domain = torch.arange(len(label)) % 2
    names = ("cat", "dog", "owl"), ("photo", "painting")
    return Predictions(torch.tensor(label), domain, torch.tensor(predicted), confidences, *names)
