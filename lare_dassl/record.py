"""The record of a run: one JSON file with its outcome and all that it depends on (format `record/1`)."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from . import dassl_api
from .embeddings.embedding_set import EmbeddingSet
from .errors import InputError
from .files import replaced

FORMAT = "record/1"
FILE_NAME = "record.json"
PACKAGES = ("lare_dassl", "torch", "torchvision", "open_clip_torch", "timm")
METRICS = {
    "accuracy": "accuracy",
    "in_domain_accuracy": "in-domain accuracy",
    "out_of_domain_accuracy": "out-of-domain accuracy",
    "macro_f1": "macro-F1",
    "ece": "calibration error (ECE)",
}
"""The figures of a test in percent, and what tables call them."""
BY_DOMAIN = "domain_accuracy/"
"""In a flat list of figures, what stands before the name of a domain."""
STAGES = ("encode", "stage1", "stage2", "test", "total")


def nest_metrics(results: dict[str, float]) -> dict[str, Any]:
    """An evaluator's figures with those by domain in a dictionary of their own; figures that do not apply are None."""
    metrics: dict[str, Any] = {name: results.get(name) for name in METRICS}
    metrics["domain_accuracy"] = {
        name.removeprefix(BY_DOMAIN): value for name, value in results.items() if name.startswith(BY_DOMAIN)
    }
    return metrics


def make_record(
    cfg: CfgNode,
    seed: int,
    embeddings: EmbeddingSet,
    results: dict[str, float],
    seconds: dict[str, float],
    *,
    split_sha256: str,
    chosen: dict[str, float] | None = None,
) -> dict[str, Any]:
    """The record of a finished run.

    Args:
        cfg: the configuration that ran.
        seed: the seed that was used.
        embeddings: what was trained and tested on.
        results: the evaluator's figures on the split that TEST.SPLIT names, in percent.
        seconds: time of each stage.
        split_sha256: hash of the run's split.json; runs on the same split share it.
        chosen: the settings that were chosen on validation rows, by their keys.
    """
    identity = embeddings.vlm
    return {
        "format": FORMAT,
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "seed": seed,
        "shots": cfg.DATASET.NUM_SHOTS,
        "imbalance": cfg.DATASET.LONG_TAIL.RATIO,
        "host": dassl_api.HOST,
        "vlm": {
            "model": identity.model,
            "pretrained": identity.pretrained,
            "weights_sha256": identity.weights_sha256,
            "precision": identity.precision,
            "embedding_dim": identity.embedding_dim,
        },
        "source_domains": list(embeddings.source_domains),
        "target_domains": list(embeddings.target_domains),
        "split": cfg.TEST.SPLIT,
        "split_sha256": split_sha256,
        "samples": {name: len(rows) for name, rows in embeddings.splits().items()},
        "chosen": chosen or {},
        "metrics": nest_metrics(results),
        "seconds": {stage: seconds.get(stage, 0.0) for stage in STAGES},
        "versions": _versions(),
        "config": json.loads(json.dumps(cfg)) | {"SEED": seed},
    }


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record into a run's folder, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE_NAME
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        InputError: the file is missing or no record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the record {path}: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path} is no record of the format {FORMAT}")
    return record


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "dassl": dassl_api.HOST_VERSION}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
