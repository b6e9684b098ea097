"""Controls for LARE: added embeddings that need no region, to tell what the regions add.

Pure torch. B: real embeddings of a batch, N: all training embeddings, D: embedding width. Embeddings have unit length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lare_dassl.methods.shared.settings import ADDED, SAMPLES, STRENGTH, Settings, setting


@dataclass(frozen=True)
class InterpolationSettings(Settings):
    """Number of embeddings that a control adds."""

    samples_per_image: int = setting(1, ADDED, SAMPLES)


@dataclass(frozen=True)
class NoiseSettings(InterpolationSettings):
    """Number and noise of the embeddings that are added."""

    sigma: float = setting(1.0, "length of the noise that is added to an embedding of length 1", STRENGTH)


@dataclass(frozen=True)
class DrawnEmbeddings:
    """Fresh embeddings in every batch; a control says how one is made.

    Attributes:
        embedding: of the training images, (N, D).
        samples_per_image: embeddings added for each.
    """

    embedding: Tensor
    samples_per_image: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return tuple(self.embedding.shape)

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        """A block (B, D) of fresh embeddings for each of `samples_per_image`."""
        return [self.sample(indices, generator) for _ in range(self.samples_per_image)]

    def sample(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """One fresh embedding for each of the rows `indices`, (B, D)."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoisyEmbeddings(DrawnEmbeddings):
    """Gaussian noise: (x + σ n / √D) scaled to unit length, n standard normal.

    The noise has a length of about σ, whatever the width, so that the cosine to x is about 1 / √(1 + σ²).

    Attributes:
        sigma: σ.
    """

    sigma: float

    def sample(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """See the class."""
        real = self.embedding[indices]
        noise = torch.randn(real.shape, generator=generator, dtype=real.dtype, device=real.device)
        return F.normalize(real + self.sigma / real.shape[1] ** 0.5 * noise, dim=-1)


@dataclass(frozen=True)
class TextInterpolations(DrawnEmbeddings):
    """Between image and text: ((1 − u) x + u t) scaled to unit length, u uniform in [0, 1], one for each embedding.

    Attributes:
        text: t, the text embedding of each image's class, (N, D).
    """

    text: Tensor

    def sample(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """See the class."""
        real, text = self.embedding[indices], self.text[indices]
        share = torch.rand(len(real), 1, generator=generator, dtype=real.dtype, device=real.device)
        return F.normalize(torch.lerp(real, text, share), dim=-1)
