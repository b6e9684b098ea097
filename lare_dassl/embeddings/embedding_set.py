"""The embeddings of a dataset as tensors. N: rows, D: embedding width, C: classes, K: described domains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lare_dassl.errors import InputError

RANDOM_WEIGHTS = "random"
"""Stands in place of a hash where the weights are random."""


@dataclass(frozen=True)
class VLMIdentity:
    """The frozen model that gave the embeddings.

    Attributes:
        model: open_clip's name of the architecture.
        pretrained: tag or path of the weights, as the user named them.
        weights_sha256: hash of the weights file; RANDOM_WEIGHTS for random weights, "" if unknown.
        embedding_dim: D.
        logit_scale: inverse temperature that the model was trained with.
        precision: of the encoding, "fp32", "bf16" or "fp16"; "" if unknown.
        preprocess: JSON object with image size, mean, std and interpolation, as far as the weights bring them; "" if
            unknown.

    >>> VLMIdentity("ViT-B-32", "openai", "", embedding_dim=512, logit_scale=100.0).precision
    ''
    """

    model: str
    pretrained: str
    weights_sha256: str
    embedding_dim: int
    logit_scale: float
    precision: str = ""
    preprocess: str = ""


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Rows of one split.

    Attributes:
        embedding: unit-length image embeddings, float32 (N, D).
        label: classes, int64 (N,).
        domain: domains, int64 (N,), indices into EmbeddingSet.domain_names.

    Raises:
        InputError: shapes or types do not fit together.

    >>> rows = LabelledEmbeddings(torch.eye(3), label=torch.tensor([0, 1, 0]), domain=torch.zeros(3, dtype=torch.int64))
    >>> len(rows)
    3
    >>> rows.select(rows.label == 0).embedding
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """

    embedding: Tensor
    label: Tensor
    domain: Tensor

    def __post_init__(self) -> None:
        rows = self.embedding.shape[:1]
        if self.embedding.ndim != 2 or self.label.shape != rows or self.domain.shape != rows:
            raise InputError(
                f"embedding (N, D), label (N,) and domain (N,) must share N, got {tuple(self.embedding.shape)}, "
                f"{tuple(self.label.shape)}, {tuple(self.domain.shape)}"
            )
        if self.label.dtype != torch.int64 or self.domain.dtype != torch.int64:
            raise InputError(f"label and domain must be int64, got {self.label.dtype} and {self.domain.dtype}")

    def __len__(self) -> int:
        return len(self.embedding)

    def select(self, rows: Tensor) -> LabelledEmbeddings:
        """The given rows, by index or mask."""
        places = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        return LabelledEmbeddings(*(part.index_select(0, places) for part in (self.embedding, self.label, self.domain)))

    def to(self, device: torch.device) -> LabelledEmbeddings:
        """The same rows on a device."""
        return LabelledEmbeddings(self.embedding.to(device), self.label.to(device), self.domain.to(device))


@dataclass(frozen=True)
class EmbeddingSet:
    """The embeddings of a dataset's images and texts, with the names of its classes and domains.

    Attributes:
        train: rows of the source domains.
        val: validation rows of the source domains, or None.
        test: rows of source and target domains, used neither for training nor for selection.
        class_text: unit-length class text embeddings, float32 (C, D).
        classnames: C names.
        domain_names: name of each domain index.
        source_domains: names of the domains trained on.
        target_domains: names of the domains never trained on.
        vlm: the model that gave the embeddings.
        domain_text: class c described in domain k, unit length, float32 (K, C, D); None where no domain is described.
        described_domains: K names; a domain may be described that has no image, and is then not in `domain_names`.

    Raises:
        InputError: shapes do not fit together, a domain is described twice, a label or domain lies outside its range,
            or a split has rows of a domain that it must not have.

    >>> identity = VLMIdentity("ViT-B-32", "openai", weights_sha256="", embedding_dim=2, logit_scale=100.0)
    >>> photos = LabelledEmbeddings(torch.eye(2), label=torch.tensor([0, 1]), domain=torch.tensor([0, 0]))
    >>> sketches = LabelledEmbeddings(torch.eye(2), label=torch.tensor([0, 1]), domain=torch.tensor([1, 1]))
    >>> embeddings = EmbeddingSet(
    ...     train=photos,
    ...     val=None,
    ...     test=sketches,
    ...     class_text=torch.eye(2),
    ...     classnames=("cat", "dog"),
    ...     domain_names=("photo", "sketch"),
    ...     source_domains=("photo",),
    ...     target_domains=("sketch",),
    ...     vlm=identity,
    ... )
    >>> list(embeddings.splits())
    ['train', 'test']
    """

    train: LabelledEmbeddings
    val: LabelledEmbeddings | None
    test: LabelledEmbeddings
    class_text: Tensor
    classnames: tuple[str, ...]
    domain_names: tuple[str, ...]
    source_domains: tuple[str, ...]
    target_domains: tuple[str, ...]
    vlm: VLMIdentity
    domain_text: Tensor | None = None
    described_domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.class_text.shape != (len(self.classnames), self.vlm.embedding_dim):
            raise InputError(
                f"class text embeddings must be ({len(self.classnames)} classes, {self.vlm.embedding_dim}), "
                f"got {tuple(self.class_text.shape)}"
            )
        _check_descriptions(self)
        for split, rows in self.splits().items():
            _check_rows(split, rows, self)
            _check_roles(split, rows, self)

    def splits(self) -> dict[str, LabelledEmbeddings]:
        """The splits that exist, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: rows for name, rows in splits.items() if rows is not None}

    def to(self, device: torch.device) -> EmbeddingSet:
        """The same set with its tensors on a device."""
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device) if self.val is not None else None,
            test=self.test.to(device),
            class_text=self.class_text.to(device),
            domain_text=self.domain_text.to(device) if self.domain_text is not None else None,
        )


def _check_descriptions(owner: EmbeddingSet) -> None:
    names = owner.described_domains
    if len(set(names)) != len(names):
        raise InputError(f"a domain is described twice: {', '.join(names)}")
    shape = tuple(owner.domain_text.shape) if owner.domain_text is not None else (0, *owner.class_text.shape)
    if shape != (len(names), *owner.class_text.shape):
        classes, width = owner.class_text.shape
        raise InputError(f"text/domain must be ({len(names)} domains, {classes} classes, {width}), got {shape}")


def _check_roles(split: str, rows: LabelledEmbeddings, owner: EmbeddingSet) -> None:
    """Refuse train and val rows that are of no source domain, and test rows of neither a source nor a target domain."""
    allowed = {*owner.source_domains, *(owner.target_domains if split == "test" else ())}
    for index in rows.domain.unique().tolist():
        if owner.domain_names[index] not in allowed:
            role = "neither a source nor a target domain" if split == "test" else "no source domain"
            raise InputError(f"the {split} split has rows of domain '{owner.domain_names[index]}', which is {role}")


def _check_rows(split: str, rows: LabelledEmbeddings, owner: EmbeddingSet) -> None:
    if len(rows) == 0:
        raise InputError(f"the {split} split has no rows")
    if rows.embedding.shape[1] != owner.vlm.embedding_dim:
        raise InputError(
            f"{split} embeddings are {rows.embedding.shape[1]} wide, class texts {owner.vlm.embedding_dim}"
        )
    for name, values, names in (("label", rows.label, owner.classnames), ("domain", rows.domain, owner.domain_names)):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= len(names):
            raise InputError(f"{split}/{name} must lie in [0, {len(names)}), got {low} to {high}")
