"""The record of a run: one JSON file with its outcome and all that it depends on (format `record/1`).

In the file a `sha256` of all else stands at the end. `files` holds the checksums of the run's other files.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from lare_dassl.embeddings.embedding_set import VLMIdentity
from lare_dassl.errors import InputError
from lare_dassl.host import door
from lare_dassl.io.files import replaced
from lare_dassl.io.json_files import opened, read_json, sealed

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
VLM_FIELDS = ("model", "pretrained", "weights_sha256", "precision", "embedding_dim")
RUN_FIELDS = {"dataset": str, "trainer": str, "seed": int, "shots": int, "imbalance": (int, float), "config": dict}
"""What every run has from the start, and of which type."""
FIELDS = RUN_FIELDS | {"host": str, "vlm": dict, "source_domains": list, "target_domains": list, "split": str}
FIELDS |= {"split_sha256": str, "samples": dict, "chosen": dict, "metrics": dict, "seconds": dict, "versions": dict}
"""What every record holds beside its format, and of which type."""
COUNTS = ("skipped", "duplicates")
"""What records of earlier versions lack: numbers of images by name, or None."""
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
    vlm: VLMIdentity | str,
    *,
    source_domains: Sequence[str],
    target_domains: Sequence[str],
    samples: dict[str, int],
    split_sha256: str,
    results: dict[str, float],
    seconds: dict[str, float],
    chosen: dict[str, float] | None = None,
    together: int = 1,
    skipped: dict[str, int] | None = None,
    duplicates: dict[str, int] | None = None,
    files: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The record of a finished run.

    Args:
        cfg: the configuration that ran, with its seed.
        vlm: the frozen model, or where no more is known of it, its name.
        source_domains: names of the domains trained on.
        target_domains: names of the domains never trained on.
        samples: number of images of each split.
        split_sha256: hash of the run's split.json; runs on the same split share it.
        results: the evaluator's figures on the split that TEST.SPLIT names, in percent.
        seconds: time of each stage.
        chosen: the settings that were chosen on validation rows, by their keys.
        together: number of runs, this one among them, that were trained at once.
        skipped: number of images of each split that were left out, since they cannot be read; left out for none.
        duplicates: see duplicates.check_duplicates; None where it is not known.
        files: by the names of the run's safetensors files, the sha256 in their metadata.
    """
    known = vars(vlm) if isinstance(vlm, VLMIdentity) else {"model": vlm}
    return _what_ran(cfg) | {
        "host": door.HOST,
        "vlm": {name: known.get(name) for name in VLM_FIELDS},
        "source_domains": list(source_domains),
        "target_domains": list(target_domains),
        "split": cfg.TEST.SPLIT,
        "split_sha256": split_sha256,
        "files": files or {},
        "samples": samples,
        "skipped": skipped or dict.fromkeys(samples, 0),
        "duplicates": duplicates,
        "chosen": chosen or {},
        "metrics": nest_metrics(results),
        "seconds": {stage: seconds.get(stage, 0.0) for stage in STAGES},
        "versions": _versions(),
        "machine": _machine(cfg) | {"together": together},
        "config": json.loads(json.dumps(cfg)),
    }


def _what_ran(cfg: CfgNode) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "trainer": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "seed": cfg.SEED,
        "shots": cfg.DATASET.NUM_SHOTS,
        "imbalance": cfg.DATASET.LONG_TAIL.RATIO,
    }


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record into a run's folder, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE_NAME
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(sealed(record), indent=1) + "\n", encoding="utf-8")
    return path


class OtherFormatError(InputError):
    """A record of a format that is not known here."""


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        OtherFormatError: it is a record of another format, such as a later version may write.
        InputError: the file is missing or no record, or something of it is missing or of another type.
    """
    try:
        record = read_json(path)
        record = opened(record) if isinstance(record, dict) else record
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the record {path}: {error}") from error
    found = record.get("format") if isinstance(record, dict) else None
    if isinstance(found, str) and found.startswith("record/") and found != FORMAT:
        raise OtherFormatError(f"{path} is a record of the format {found}, not {FORMAT}: another version wrote it")
    if found != FORMAT:
        raise InputError(f"{path} is no record of the format {FORMAT}")
    check_fields(record, FIELDS, str(path))
    for name in COUNTS:
        _check_counts(record, name, str(path))
    _check_metrics(record["metrics"], str(path))
    return record


def check_file(folder: Path, name: str, digest: str) -> None:
    """Refuse a file of a run that is not the one its record tells of, such as another run's in its place.

    Without a record that can be read, or with one that tells of no such file, there is nothing to compare with.

    Args:
        folder: of the run.
        name: of the file.
        digest: the sha256 in its metadata.

    Raises:
        InputError: it is another one.
    """
    try:
        told = read_record(folder / FILE_NAME).get("files")
    except InputError:
        return
    if isinstance(told, dict) and told.get(name, digest) != digest:
        raise InputError(f"it is not the {name} that the {FILE_NAME} beside it tells of: run again")


def check_fields(content: Any, fields: Mapping[str, Any], where: str) -> None:
    """Refuse what is no dictionary with these fields of these types.

    Raises:
        InputError: names the first field that is missing or of another type.
    """
    for name, kind in fields.items():
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{where} holds no usable '{name}'")


def _check_counts(record: dict[str, Any], name: str, where: str) -> None:
    counts = record.get(name) or {}
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        raise InputError(f"{where} holds no usable '{name}'")


def _check_metrics(metrics: dict[str, Any], where: str) -> None:
    by_domain = metrics.get("domain_accuracy")
    figures = [metrics.get(name) for name in METRICS]
    figures += list(by_domain.values()) if isinstance(by_domain, dict) else ["no dictionary"]
    if not all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in figures):
        raise InputError(f"{where} holds 'metrics' that are no numbers")


def _machine(cfg: CfgNode) -> dict[str, Any]:
    """What of the machine the last digits depend on, see docs/reproducibility.md."""
    gpu = torch.cuda.get_device_name() if cfg.USE_CUDA and torch.cuda.is_available() else ""
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"processor": processor, "threads": torch.get_num_threads(), "gpu": gpu}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "dassl": door.HOST_VERSION}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
