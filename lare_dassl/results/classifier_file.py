"""A trained classifier, with all that it takes to use it, in one safetensors file (format `classifier/1`).

Tensors: the classifier's state dict. Metadata, all strings: `format`; `kind`, which says how to rebuild it;
`classnames` (JSON list); `temperature` and `calibration_rows`, see SavedClassifier; `embedding_dim`, `model`,
`pretrained`, `weights_sha256`, `precision`, `preprocess` and `logit_scale`, see VLMIdentity; and `sha256` of all else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lare_dassl.embeddings.embedding_file import identity_metadata, read_identity
from lare_dassl.embeddings.embedding_set import VLMIdentity
from lare_dassl.errors import InputError, unknown_name
from lare_dassl.io.tensors import DIGEST, json_list, read_tensors, write_tensors
from lare_dassl.methods.clip_adapter import AdapterClassifier
from lare_dassl.methods.tip_adapter import CacheClassifier

from .record import check_file

FORMAT = "classifier/1"
FILE_NAME = "classifier.safetensors"
LINEAR = "linear"


def _linear(state: Mapping[str, Tensor]) -> nn.Linear:
    classes, width = state["weight"].shape
    layer = nn.Linear(width, classes)
    layer.load_state_dict(state)
    return layer


KINDS: dict[str, Callable[[dict[str, Tensor]], nn.Module]] = {
    LINEAR: _linear,
    AdapterClassifier.kind: AdapterClassifier.from_state,
    CacheClassifier.kind: CacheClassifier.from_state,
}
"""Functions that rebuild a classifier of each kind from its state dict; add your own under its `kind`."""


@dataclass(frozen=True)
class SavedClassifier:
    """A trained classifier with its class names, temperature and frozen model.

    Attributes:
        module: unit-length embeddings (B, D) → logits (B, C).
        classnames: C names.
        temperature: T; probabilities are softmax(logits / T).
        calibration_rows: validation rows that T was fitted on; 0 where there were none, and T is 1.
        vlm: the frozen model that gave the embeddings.

    Raises:
        InputError: T is no positive number.
    """

    module: nn.Module
    classnames: tuple[str, ...]
    temperature: float
    calibration_rows: int
    vlm: VLMIdentity

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"the temperature must be a positive number, not {self.temperature}")


def kind_of(module: nn.Module) -> str:
    """The kind of a classifier; "" for one that cannot be rebuilt from its state dict."""
    return LINEAR if type(module) is nn.Linear else getattr(module, "kind", "")


def write_classifier(path: Path, saved: SavedClassifier) -> str:
    """Write a classifier, whose module is of some kind, all or nothing; gives the sha256 of the file's content.

    Raises:
        InputError: the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "kind": kind_of(saved.module),
        "classnames": json.dumps(list(saved.classnames)),
        "temperature": repr(saved.temperature),
        "calibration_rows": str(saved.calibration_rows),
        "embedding_dim": str(saved.vlm.embedding_dim),
        **identity_metadata(saved.vlm),
    }
    return write_tensors(path, saved.module.state_dict(), metadata)


def read_classifier(path: Path) -> SavedClassifier:
    """Read a classifier file onto the CPU.

    Raises:
        InputError: the file is missing, damaged, of another format, or not the one that the record beside it names; the
            message names the file.
    """
    state, metadata = read_tensors(path, FORMAT, "run again, or get it anew")
    try:
        if DIGEST not in metadata:
            raise InputError(f"it is damaged (its metadata have no '{DIGEST}'): run again, or get it anew")
        saved = _build(state, metadata)
        check_file(path.parent, path.name, metadata[DIGEST])
        return saved
    except InputError as error:
        raise InputError(f"classifier {path}: {error}") from error
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"classifier {path}: it cannot be rebuilt ({cause}): run again, or get it anew") from error


def _build(state: dict[str, Tensor], metadata: dict[str, str]) -> SavedClassifier:
    kind = metadata.get("kind", "")
    if kind not in KINDS:
        raise unknown_name("kind of classifier", kind, KINDS)
    return SavedClassifier(
        module=KINDS[kind](state).eval().requires_grad_(False),
        classnames=json_list(metadata, "classnames"),
        temperature=float(metadata["temperature"]),
        calibration_rows=int(metadata["calibration_rows"]),
        vlm=read_identity(metadata, int(metadata["embedding_dim"])),
    )
