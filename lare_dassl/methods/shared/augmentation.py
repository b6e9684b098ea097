"""Augmentations: extra training embeddings that a method mixes with the real ones.

B: real embeddings of a batch, N: all training embeddings, D: embedding width, K: embeddings added for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Augmentation(Protocol):
    """Gives further embeddings for real ones; each keeps the label of the embedding that it was made from.

    >>> augmentation: Augmentation = MovedEmbeddings(torch.eye(4)[None])
    >>> augmentation.shape
    (4, 4)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D) of the embeddings that it is for."""

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Blocks of embeddings, each (B, D): one for each of the rows `indices`, int64 (B,), in their order.

        The generator, on the tensors' device, is the only source of chance.
        """


@dataclass(frozen=True)
class MovedEmbeddings:
    """Embeddings that were moved once, the same in every epoch (LADS).

    >>> moved = MovedEmbeddings(torch.eye(4)[None])
    >>> [block.shape for block in moved.draw(torch.tensor([3, 0]), torch.Generator())]
    [torch.Size([2, 4])]

    Attributes:
        moved: unit length, (K, N, D).
    """

    moved: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return tuple(self.moved.shape[1:])

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        """K blocks, each (B, D); nothing is left to chance."""
        return list(self.moved[:, indices])
