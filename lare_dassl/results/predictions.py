"""Predictions of a run on its test rows: one safetensors file (format `predictions/1`).

Tensors: `label`, `domain` and `predicted` int64 (N,), `confidence` float32 (N,), in the order of split.json. Metadata,
all strings: `format`, `classnames`, `domains` (JSON lists), and `split`, the split that TEST.SPLIT names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lare_dassl.errors import InputError
from lare_dassl.io.tensors import DIGEST, json_list, read_tensors, write_tensors

from .record import check_file

FORMAT = "predictions/1"
FILE_NAME = "predictions.safetensors"
TENSORS = {"label": torch.int64, "domain": torch.int64, "predicted": torch.int64, "confidence": torch.float32}
"""The tensors of a file, each (N,), with their types."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run on its N test rows.

    Attributes:
        label: true classes, int64 (N,).
        domain: domains, int64 (N,), indices into `domains`.
        predicted: predicted classes, int64 (N,).
        confidence: highest class probability, not calibrated, float32 (N,), in [0, 1].
        classnames: name of each label.
        domains: name of each domain index.

    Raises:
        InputError: shapes or types do not fit together, or a value is out of its range.

    >>> label, domain, predicted = torch.tensor([[0, 1], [0, 0], [0, 0]])
    >>> rows = Predictions(label, domain, predicted, torch.tensor([0.9, 0.6]), ("cat", "dog"), ("photo",))
    >>> rows.correct.tolist()
    [True, False]
    """

    label: Tensor
    domain: Tensor
    predicted: Tensor
    confidence: Tensor
    classnames: tuple[str, ...]
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, dtype in TENSORS.items():
            values = getattr(self, name)
            if values.dtype != dtype or values.ndim != 1 or len(values) != len(self.label):
                found = f"{values.dtype} {tuple(values.shape)}"
                raise InputError(f"'{name}' must be {dtype} (N,), the same N in all, not {found}")
        limits = {"label": len(self.classnames), "domain": len(self.domains), "predicted": len(self.classnames)}
        for name, limit in limits.items():
            values = getattr(self, name)
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < limit:
                raise InputError(f"'{name}' must lie in [0, {limit})")
        if not bool(((self.confidence >= 0) & (self.confidence <= 1)).all()):
            raise InputError("'confidence' must lie in [0, 1]")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> Tensor:
        """True for each row that is classified correctly, bool (N,)."""
        return self.label == self.predicted

    def of_domains(self, names: Sequence[str]) -> Predictions:
        """The rows of some domains alone."""
        indices = torch.tensor([self.domains.index(name) for name in names], dtype=torch.int64)
        rows = torch.isin(self.domain, indices)
        return replace(self, **{name: getattr(self, name)[rows] for name in TENSORS})


def write_predictions(folder: Path, predictions: Predictions, split: str) -> str:
    """Write predictions on a split into a run's folder, all or nothing; gives the sha256 of their content.

    Raises:
        InputError: the file cannot be written.
    """
    names = {"classnames": predictions.classnames, "domains": predictions.domains}
    metadata = {key: json.dumps(list(values)) for key, values in names.items()}
    tensors = {name: getattr(predictions, name) for name in TENSORS}
    return write_tensors(folder / FILE_NAME, tensors, {"format": FORMAT, "split": split, **metadata})


def read_predictions(path: Path) -> Predictions:
    """Read the predictions of a run.

    Raises:
        InputError: the file is missing, damaged, of another format, or not the one that the record beside it names; the
            message names the file.
    """
    tensors, metadata = read_tensors(path, FORMAT, "run again")
    try:
        check_file(path.parent, path.name, metadata.get(DIGEST, ""))
        missing = [name for name in TENSORS if name not in tensors]
        if missing:
            raise InputError(f"tensor '{missing[0]}' is missing")
        values = {name: tensors[name] for name in TENSORS}
        names = json_list(metadata, "classnames"), json_list(metadata, "domains")
        return Predictions(**values, classnames=names[0], domains=names[1])
    except InputError as error:
        raise InputError(f"predictions {path}: {error}") from error
