"""Batches of embeddings for training: real ones alone, or mixed with those that a method adds.

B: real embeddings of a batch, k: embeddings added for each, D: embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.augmentation import Augmentation

from .embedding_set import LabelledEmbeddings

# Bytes; where torch itself places a tensor on the CPU.
ALIGNMENT = 64


@dataclass(frozen=True)
class EmbeddingBatch:
    """One training batch: the real embeddings, then k blocks with one added embedding for each of them.

    Attributes:
        embedding: (B·(1 + k), D).
        label: int64 (B·(1 + k),).
        domain: int64 (B·(1 + k),); an added embedding keeps the domain of its image.
        sampled: bool (B·(1 + k),), True for added embeddings.
    """

    embedding: Tensor
    label: Tensor
    domain: Tensor
    sampled: Tensor

    def __len__(self) -> int:
        return len(self.embedding)


class MixedLoader:
    """Batches of real embeddings with k added ones of each, drawn every epoch on the tensors' device.

    Epoch e of a seed is the same whatever came before, so a resumed run goes on as if it had never stopped.

    Args:
        rows: the training embeddings.
        batch_size: real embeddings per batch; the last batch may be smaller.
        seed: of the order and of the added embeddings.
        augmentation: makes the added embeddings; None gives real embeddings alone.

    Raises:
        InputError: batch_size < 1, or an augmentation of other rows.

    >>> from lare_dassl.methods.shared.augmentation import MovedEmbeddings
    >>> rows = LabelledEmbeddings(torch.eye(3), torch.arange(3), torch.zeros(3, dtype=torch.int64))
    >>> moved = MovedEmbeddings(torch.eye(3).flip(1)[None])
    >>> loader = MixedLoader(rows, batch_size=2, seed=0, augmentation=moved)
    >>> [(len(batch), batch.sampled.tolist()) for batch in loader]
    [(4, [False, False, True, True]), (2, [False, True])]
    """

    def __init__(
        self, rows: LabelledEmbeddings, batch_size: int, seed: int, augmentation: Augmentation | None = None
    ) -> None:
        if batch_size < 1:
            raise InputError(f"the batch size must be at least 1, not {batch_size}")
        shape = tuple(rows.embedding.shape)
        if augmentation is not None and augmentation.shape != shape:
            raise InputError(f"the augmentation is for embeddings of shape {augmentation.shape}, not {shape}")
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.epoch = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return math.ceil(len(self.rows) / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[EmbeddingBatch]:
        generator = torch.Generator(self.rows.embedding.device)
        for indices in self.start_epoch(self.epoch, generator).split(self.batch_size):
            yield self.batch(indices, generator)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> Tensor:
        """The order of an epoch, int64 (N,), drawn from a generator that is seeded for it here."""
        generator.manual_seed(_epoch_seed(self.seed, epoch))
        return torch.randperm(len(self.rows), generator=generator, device=generator.device)

    def batch(self, indices: Tensor, generator: torch.Generator) -> EmbeddingBatch:
        """The rows `indices`, int64 (B,), with the embeddings added to them, which the epoch's generator draws."""
        real = self.rows.select(indices)
        added = [] if self.augmentation is None else self.augmentation.draw(indices, generator)
        blocks = [real.embedding, *added]
        copies = len(blocks)
        sampled = torch.arange(copies * len(indices), device=indices.device) >= len(indices)
        return EmbeddingBatch(torch.cat(blocks), real.label.repeat(copies), real.domain.repeat(copies), sampled)


def _epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch; neighbouring seeds and epochs share none (a large prime keeps them apart)."""
    return (seed * 1_000_003 + epoch) % 2**63


class RowLoader:
    """All rows in their order, as batches of real embeddings, for validation and test.

    Args:
        rows: the embeddings.
        batch_size: rows per batch.
    """

    def __init__(self, rows: LabelledEmbeddings, batch_size: int = 4096) -> None:
        self.rows = rows
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches in all."""
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[EmbeddingBatch]:
        for start in range(0, len(self.rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            embedding = _aligned(self.rows.embedding[part])
            sampled = torch.zeros(len(embedding), dtype=torch.bool, device=embedding.device)
            yield EmbeddingBatch(embedding, self.rows.label[part], self.rows.domain[part], sampled)


def _aligned(rows: Tensor) -> Tensor:
    """The same rows at a memory address that is a multiple of 64 bytes; they are copied where they lie at another.

    MKL rounds a product differently for other addresses, and the address of rows read from a file depends on the
    length of the file's header: without this the same rows would give other last digits.
    """
    return rows if rows.data_ptr() % ALIGNMENT == 0 else rows.clone()
