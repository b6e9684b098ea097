"""The record of a run, record.json (format `record/1`): its outcome and all that it depends on.

In the file a `sha256` of all else stands at the end. `files` holds the checksums of the run's other files.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import Field
from yacs.config import CfgNode

from lare_dassl.embeddings.embedding_set import VLMIdentity
from lare_dassl.errors import InputError
from lare_dassl.host import door
from lare_dassl.io.files import replaced
from lare_dassl.io.json_files import opened, read_json, sealed

from .run_facts import RunFacts, StrictModel, checked

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
ACCURACIES = ("in_domain_accuracy", "out_of_domain_accuracy")
"""Those that are compared and drawn."""
BY_DOMAIN = "domain_accuracy/"
"""Prefix of a domain's name in a flat list of figures."""
STAGES = ("encode", "stage1", "stage2", "test", "total")

# JSON has lists alone.
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Metrics(StrictModel):
    """Figures of a test in percent; None for those that do not apply.

    Attributes:
        accuracy, in_domain_accuracy, out_of_domain_accuracy, macro_f1, ece: see METRICS.
        domain_accuracy: accuracy on each domain by its name.
    """

    accuracy: float | None = None
    in_domain_accuracy: float | None = None
    out_of_domain_accuracy: float | None = None
    macro_f1: float | None = None
    ece: float | None = None
    domain_accuracy: dict[str, float | None]

    @classmethod
    def of(cls, results: Mapping[str, float]) -> Self:
        """The figures of an evaluator's flat list.

        >>> Metrics.of({"accuracy": 61.5, "error_rate": 38.5, "domain_accuracy/photo": 61.5}).domain_accuracy
        {'photo': 61.5}
        """
        by_domain = {name: value for name, value in results.items() if name.startswith(BY_DOMAIN)}
        return cls(
            **{name: results.get(name) for name in METRICS},
            domain_accuracy={name.removeprefix(BY_DOMAIN): value for name, value in by_domain.items()},
        )

    def flat(self) -> dict[str, float | None]:
        """All figures in one dictionary, with BY_DOMAIN before the names of domains."""
        by_domain = {f"{BY_DOMAIN}{name}": value for name, value in self.domain_accuracy.items()}
        return self.model_dump(exclude={"domain_accuracy"}) | by_domain


class FrozenVLM(StrictModel):
    """The frozen model; of a trainer that is not ours the name alone is known."""

    model: str | None = None
    pretrained: str | None = None
    weights_sha256: str | None = None
    precision: str | None = None
    embedding_dim: int | None = None


class Machine(StrictModel):
    """The parts of the machine that the last digits depend on, see docs/reproducibility.md.

    Attributes:
        processor: architecture and instruction set.
        threads: of torch.
        gpu: name of the GPU; "" without one.
        together: number of runs, this one among them, that were trained at once.
    """

    processor: str
    threads: int
    gpu: str
    together: int = 1


class Record(RunFacts):
    """The record of a finished run.

    Attributes:
        host: "builtin" or "dassl".
        vlm: the frozen model.
        source_domains: names of the domains trained on.
        target_domains: names of the domains never trained on.
        split: that the run was tested on.
        split_sha256: hash of the run's split.json; runs on the same split share it.
        files: by the names of the run's safetensors files, the sha256 in their metadata.
        samples: number of images of each split.
        skipped: number of images of each split that were left out, since they cannot be read.
        duplicates: see duplicates.check_duplicates; None where it is not known.
        chosen: the settings that were chosen on validation rows, by their keys.
        metrics: of the test on `split`.
        seconds: time of each stage.
        versions: of Python and packages.
        machine: that the run was on; None in records of earlier versions.
    """

    host: str
    vlm: FrozenVLM
    source_domains: Names
    target_domains: Names
    split: str
    split_sha256: str
    files: dict[str, str] = Field(default_factory=dict)
    samples: dict[str, int]
    skipped: dict[str, int] | None = None
    duplicates: dict[str, int] | None = None
    chosen: dict[str, float]
    metrics: Metrics
    seconds: dict[str, float]
    versions: dict[str, str]
    machine: Machine | None = None

    @property
    def tested_split(self) -> str:
        """The split that the run was tested on."""
        return self.split

    @property
    def weights(self) -> str | None:
        """Hash of the weights of the frozen model; None where it is not known."""
        return self.vlm.weights_sha256


class OtherFormatError(InputError):
    """A record of a format that is not known here."""


def make_record(
    cfg: CfgNode,
    vlm: VLMIdentity | str,
    *,
    source_domains: Sequence[str],
    target_domains: Sequence[str],
    samples: dict[str, int],
    split_sha256: str,
    results: Mapping[str, float],
    seconds: Mapping[str, float],
    chosen: dict[str, float] | None = None,
    together: int = 1,
    skipped: dict[str, int] | None = None,
    duplicates: dict[str, int] | None = None,
    files: dict[str, str] | None = None,
) -> Record:
    """The record of a finished run.

    Args:
        cfg: the configuration that ran, with its seed.
        vlm: the frozen model, or its name where no more is known.
        source_domains, target_domains, samples, split_sha256, chosen, skipped, duplicates, files: see Record.
        results: the evaluator's figures on the split that TEST.SPLIT names, in percent.
        seconds: time of each stage; 0 for those that are left out.
        together: see Machine.
    """
    known = vars(vlm) if isinstance(vlm, VLMIdentity) else {"model": vlm}
    return Record.of(
        json.loads(json.dumps(cfg)),
        host=door.HOST,
        vlm=FrozenVLM.model_validate(known),
        source_domains=source_domains,
        target_domains=target_domains,
        split=cfg.TEST.SPLIT,
        split_sha256=split_sha256,
        files=files or {},
        samples=samples,
        skipped=skipped or dict.fromkeys(samples, 0),
        duplicates=duplicates,
        chosen=chosen or {},
        metrics=Metrics.of(results),
        seconds={stage: seconds.get(stage, 0.0) for stage in STAGES},
        versions=_versions(),
        machine=_machine(cfg, together),
    )


def write_record(folder: Path, record: Record) -> Path:
    """Write a record into a run's folder, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / FILE_NAME
    content = {"format": FORMAT} | record.model_dump(exclude={"config"}) | {"config": record.config}
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(sealed(content), indent=1) + "\n", encoding="utf-8")
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        OtherFormatError: it is a record of another format, such as a later version may write.
        InputError: the file is missing, damaged or no record, or a field of it is missing or of another type.
    """
    try:
        content = opened(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the record {path}: {error}") from error
    found = content.get("format")
    if isinstance(found, str) and found.startswith("record/") and found != FORMAT:
        raise OtherFormatError(f"{path} is a record of the format {found}, not {FORMAT}: another version wrote it")
    if found != FORMAT:
        raise InputError(f"{path} is no record of the format {FORMAT}")
    return checked(Record, content, str(path))


def check_file(folder: Path, name: str, digest: str) -> None:
    """Refuse a file of a run that is not the one its record names, such as another run's in its place.

    Without a record that can be read, or with one that does not name the file, there is nothing to compare with.

    Args:
        folder: of the run.
        name: of the file.
        digest: the sha256 in its metadata.

    Raises:
        InputError: it is another one.
    """
    try:
        files = read_record(folder / FILE_NAME).files
    except InputError:
        return
    if files.get(name, digest) != digest:
        raise InputError(f"it is not the {name} that the {FILE_NAME} beside it names: run again")


def _machine(cfg: CfgNode, together: int) -> Machine:
    return Machine(
        processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if cfg.USE_CUDA and torch.cuda.is_available() else "",
        together=together,
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "dassl": door.HOST_VERSION}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
