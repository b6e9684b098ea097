"""The embedding file: a dataset's embeddings in one safetensors file (format `embedding-file/1`).

Tensors: `{train,val,test}/image` float16, bfloat16 or float32 (N, D), `{train,val,test}/label` and `.../domain` int64
(N,), `text/class` (C, D), `text/domain` (K, C, D), class c described in domain k; `val/*` and `text/domain` may be
absent. Metadata, all strings: `format`, `classnames`, `domains`, `source_domains`, `target_domains` (JSON lists),
`model`, `pretrained`, `logit_scale`, and `described_domains`, a JSON list of the K names of `text/domain`; without it
they are those of `domains`. `weights_sha256`, `precision` and `preprocess` (see VLMIdentity) may be absent; so may
`sha256`, a checksum of everything else, which tools/extract.py writes and reading checks. Without it, damage that
leaves plausible rows cannot be found.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lare_dassl.errors import InputError
from lare_dassl.io.json_files import parse_json
from lare_dassl.io.tensors import DIGEST, json_list, read_tensors, write_tensors

from .embedding_set import EmbeddingSet, LabelledEmbeddings, VLMIdentity

FORMAT = "embedding-file/1"
SPLITS = ("train", "val", "test")
FLOATS = (torch.float16, torch.bfloat16, torch.float32)
UNIT_TOLERANCE = 1e-6
ROWS_AT_A_TIME = 4096
# Rows of unit length come back from half precision within this.
LENGTH_TOLERANCE = 0.01
LISTS = ("classnames", "domains", "source_domains", "target_domains")
DESCRIBED = "described_domains"
CHANGED = f"get or extract it anew, or, if you changed it yourself, take '{DIGEST}' out of them"


def read_embedding_file(path: Path) -> EmbeddingSet:
    """Read and check an embedding file; rows are scaled to unit length in float32.

    Raises:
        InputError: the file is missing, no safetensors file, or breaks the format; the message names file and key.

    A file as another program may write it:

    >>> import tempfile
    >>> from safetensors.torch import save_file
    >>> tensors = {"text/class": torch.eye(2)}
    >>> for split in ("train", "test"):
    ...     tensors[f"{split}/image"] = 5 * torch.eye(2)
    ...     tensors[f"{split}/label"] = torch.tensor([0, 1])
    ...     tensors[f"{split}/domain"] = torch.tensor([0, 0])
    >>> metadata = {"format": "embedding-file/1", "classnames": '["cat", "dog"]', "domains": '["photo"]'}
    >>> metadata |= {"source_domains": '["photo"]', "target_domains": "[]", "logit_scale": "100"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file(tensors, Path(folder) / "pets.safetensors", metadata)
    ...     pets = read_embedding_file(Path(folder) / "pets.safetensors")
    >>> pets.train.embedding
    tensor([[1., 0.],
            [0., 1.]])
    """
    if not path.is_file():
        raise InputError(f"no embedding file {path}: give its path by --root or DATASET.ROOT")
    tensors, metadata = read_tensors(path, FORMAT, CHANGED)
    try:
        return _build(tensors, metadata)
    except InputError as error:
        raise InputError(f"embedding file {path}: {error}") from error


def write_embedding_file(path: Path, embeddings: EmbeddingSet, dtype: torch.dtype = torch.float32) -> None:
    """Write an embedding file, all or nothing.

    Args:
        path: the file; its folder is made where needed.
        embeddings: what to write.
        dtype: of the embeddings in the file.

    Raises:
        InputError: the file cannot be written.

    >>> import tempfile
    >>> photos = LabelledEmbeddings(torch.eye(2), label=torch.tensor([0, 1]), domain=torch.tensor([0, 0]))
    >>> tests = photos.select(torch.tensor([1, 0]))
    >>> identity = VLMIdentity("ViT-B-32", "openai", weights_sha256="", embedding_dim=2, logit_scale=100.0)
    >>> photo = ("photo",)
    >>> pets = EmbeddingSet(photos, None, tests, torch.eye(2), ("cat", "dog"), photo, photo, (), identity)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_embedding_file(Path(folder) / "pets.safetensors", pets, torch.float16)
    ...     read_embedding_file(Path(folder) / "pets.safetensors").classnames
    ('cat', 'dog')
    """
    tensors = {"text/class": embeddings.class_text.to("cpu", dtype)}
    if embeddings.domain_text is not None:
        tensors["text/domain"] = embeddings.domain_text.to("cpu", dtype)
    for split, rows in embeddings.splits().items():
        tensors[f"{split}/image"] = rows.embedding.to("cpu", dtype)
        tensors[f"{split}/label"] = rows.label.cpu()
        tensors[f"{split}/domain"] = rows.domain.cpu()
    write_tensors(path, tensors, _metadata(embeddings))


def _metadata(embeddings: EmbeddingSet) -> dict[str, str]:
    lists = (embeddings.classnames, embeddings.domain_names, embeddings.source_domains, embeddings.target_domains)
    described = {DESCRIBED: json.dumps(embeddings.described_domains)} if embeddings.domain_text is not None else {}
    return described | {
        "format": FORMAT,
        **{name: json.dumps(list(values)) for name, values in zip(LISTS, lists, strict=True)},
        **identity_metadata(embeddings.vlm),
    }


def _build(tensors: dict[str, Tensor], metadata: dict[str, str]) -> EmbeddingSet:
    names = {key: _unique_names(metadata, key) for key in LISTS}
    splits = {split: _read_split(tensors, split) for split in SPLITS if split != "val" or "val/image" in tensors}
    class_text = unit_rows(_take(tensors, "text/class"), "text/class")
    domain_text, described = _read_descriptions(tensors, metadata, names["domains"])
    for role in ("source_domains", "target_domains"):
        unknown = sorted(set(names[role]) - set(names["domains"]))
        if unknown:
            raise InputError(f"metadata '{role}' names '{unknown[0]}', which is not among 'domains'")
    return EmbeddingSet(
        train=splits["train"],
        val=splits.get("val"),
        test=splits["test"],
        class_text=class_text,
        classnames=names["classnames"],
        domain_names=names["domains"],
        source_domains=names["source_domains"],
        # A domain that was trained on is no target, even where a file of one domain lists it as both.
        target_domains=tuple(name for name in names["target_domains"] if name not in names["source_domains"]),
        vlm=read_identity(metadata, class_text.shape[1]),
        domain_text=domain_text,
        described_domains=described,
    )


def _read_descriptions(
    tensors: dict[str, Tensor], metadata: dict[str, str], domains: tuple[str, ...]
) -> tuple[Tensor | None, tuple[str, ...]]:
    """`text/domain` and the names of the domains that it describes; (None, ()) where the file has neither."""
    if "text/domain" not in tensors and DESCRIBED not in metadata:
        return None, ()
    domain_text = unit_rows(_take(tensors, "text/domain"), "text/domain", "(K, C, D)")
    described = _unique_names(metadata, DESCRIBED) if DESCRIBED in metadata else domains
    if len(described) != len(domain_text):
        raise InputError(
            f"'text/domain' describes {len(domain_text)} domains, and metadata "
            f"'{DESCRIBED if DESCRIBED in metadata else 'domains'}' names {len(described)}: "
            f"give '{DESCRIBED}' one name for each"
        )
    return domain_text, described


def identity_metadata(identity: VLMIdentity) -> dict[str, str]:
    """The metadata entries of a frozen model; its width is that of the tensors."""
    return {
        "model": identity.model,
        "pretrained": identity.pretrained,
        "weights_sha256": identity.weights_sha256,
        "precision": identity.precision,
        "preprocess": identity.preprocess,
        "logit_scale": repr(identity.logit_scale),
    }


def read_identity(metadata: dict[str, str], embedding_dim: int) -> VLMIdentity:
    """The frozen model that metadata describe; an entry that they lack is "".

    Raises:
        InputError: `logit_scale` is no positive number, or `preprocess` no JSON object.
    """
    try:
        logit_scale = float(metadata["logit_scale"])
    except (KeyError, ValueError):
        logit_scale = math.nan
    if not (math.isfinite(logit_scale) and logit_scale > 0):
        raise InputError("metadata 'logit_scale' must be a positive number, such as '100.0'")
    _check_preprocess(metadata.get("preprocess", ""))
    return VLMIdentity(
        model=metadata.get("model", ""),
        pretrained=metadata.get("pretrained", ""),
        weights_sha256=metadata.get("weights_sha256", ""),
        embedding_dim=embedding_dim,
        logit_scale=logit_scale,
        precision=metadata.get("precision", ""),
        preprocess=metadata.get("preprocess", ""),
    )


def _check_preprocess(text: str) -> None:
    try:
        known = not text or isinstance(parse_json(text), dict)
    except ValueError:
        known = False
    if not known:
        raise InputError("metadata 'preprocess' must be a JSON object, or empty")


def _unique_names(metadata: dict[str, str], key: str) -> tuple[str, ...]:
    names = json_list(metadata, key)
    if len(set(names)) != len(names):
        raise InputError(f"metadata '{key}' holds a name twice")
    return names


def _take(tensors: dict[str, Tensor], key: str) -> Tensor:
    if key not in tensors:
        raise InputError(f"tensor '{key}' is missing")
    return tensors[key]


def _read_split(tensors: dict[str, Tensor], split: str) -> LabelledEmbeddings:
    try:
        image = unit_rows(_take(tensors, f"{split}/image"), f"{split}/image")
        return LabelledEmbeddings(image, _take(tensors, f"{split}/label"), _take(tensors, f"{split}/domain"))
    except InputError as error:
        raise InputError(f"split '{split}': {error}") from error


def _check_lengths(norms: Tensor, key: str) -> None:
    unit, longer = (norms - 1).abs() < LENGTH_TOLERANCE, norms >= 1 + LENGTH_TOLERANCE
    if longer.any() and 2 * int(unit.sum()) > norms.numel():
        raise InputError(
            f"'{key}' row {_place(longer)} has the length {float(norms[longer][0]):.4g}, where most have 1 "
            f"({int(longer.sum())} such rows): it is damaged"
        )


def _place(rows: Tensor) -> str:
    """The indices of the first of some rows."""
    return ", ".join(str(index) for index in rows.nonzero()[0].tolist())


def unit_rows(rows: Tensor, key: str, shape: str = "(N, D)") -> Tensor:
    """Embeddings scaled to unit length in float32; rows of unit length are not changed.

    Args:
        rows: of `shape`.
        key: name of the tensor, for messages.
        shape: names of the dimensions, with a comma between any two.

    Raises:
        InputError: another shape or type, a row that is NaN, infinite or zero, or one that is longer than unit length
            where most have it: no average of unit rows is.
    """
    if rows.ndim != len(shape.split(",")) or rows.dtype not in FLOATS:
        raise InputError(f"'{key}' must be float16, bfloat16 or float32 {shape}, not {rows.dtype} {tuple(rows.shape)}")
    given, rows = rows, rows.float()
    norms = rows.norm(dim=-1)
    bad = ~torch.isfinite(norms) | (norms == 0)
    if bad.any():
        raise InputError(f"'{key}' row {_place(bad)} is NaN, infinite or zero ({int(bad.sum())} such rows)")
    _check_lengths(norms, key)
    # Rows that have unit length stay as they are, so that a file gives what its images gave.
    off = ((norms - 1).abs() >= UNIT_TOLERANCE).flatten().nonzero().flatten()
    if not len(off):
        return rows
    if rows is given or rows.is_inference():
        rows = rows.clone(memory_format=torch.contiguous_format)
    flat = rows.view(-1, rows.shape[-1])
    for part in off.split(ROWS_AT_A_TIME):
        flat[part] = F.normalize(flat[part], dim=-1)
    return rows
