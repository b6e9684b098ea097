"""Tip-Adapter: a cache of the training embeddings beside the zero-shot classifier (Zhang et al., ECCV 2022).

Pure torch. N: training embeddings, V: validation embeddings, B: embeddings of a batch, D: embedding width, C: classes.
Embeddings have unit length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lare_dassl.methods.shared.settings import STRENGTH, Settings, setting

# The paper's weight of the cache and sharpness of its affinities, where none are chosen.
ALPHA = 1.0
BETA = 5.5
# Grids for validation rows: doubling steps, from a cache that hardly counts, or is flat, to one that decides alone.
ALPHAS = tuple(0.125 * 2.0**step for step in range(14))
BETAS = tuple(0.25 * 2.0**step for step in range(9))
# Embeddings whose affinities to the cache are held at once.
CHUNK = 512


@dataclass(frozen=True)
class CacheSettings(Settings):
    """Weight and sharpness of the cache; 0 lets validation rows choose."""

    alpha: float = setting(0.0, "weight of the cache; 0 chooses it on the source domains' validation rows", STRENGTH)
    beta: float = setting(0.0, "sharpness of the cache's affinities; 0 chooses it on those rows too", STRENGTH)


class CacheClassifier(nn.Module):
    """Logits s · x Tᵀ + α φ(x Kᵀ) V, with the affinity φ(c) = exp(−β (1 − c)) of the paper's equations.

    Args:
        keys: K, (N, D); Tip-Adapter-F trains them, and they need not keep unit length.
        values: V, one row for the class of each key, (N, C).
        zero_shot: s · T, the class text embeddings times the logit scale, (C, D).
        alpha: α, the weight of the cache.
        beta: β, the sharpness of the affinities.
    """

    kind: ClassVar[str] = "tip_adapter"
    values: Tensor
    zero_shot: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(
        self, keys: Tensor, values: Tensor, zero_shot: Tensor, alpha: float = ALPHA, beta: float = BETA
    ) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys.clone())
        self.register_buffer("values", values.clone())
        self.register_buffer("zero_shot", zero_shot.clone())
        self.register_buffer("alpha", torch.tensor(alpha, device=keys.device))
        self.register_buffer("beta", torch.tensor(beta, device=keys.device))

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> CacheClassifier:
        """The classifier that a state dict holds."""
        classifier = cls(state["keys"], state["values"], state["zero_shot"])
        classifier.load_state_dict(state)
        return classifier

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, C) of embeddings (B, D)."""
        return embedding @ self.zero_shot.T + self.alpha * self.cached(embedding, self.beta)

    def cached(self, embedding: Tensor, beta: Tensor | float) -> Tensor:
        """Logits of the cache alone for embeddings (B, D): φ(x Kᵀ) V, (B, C)."""
        chunks = embedding.split(CHUNK)
        return torch.cat([torch.exp(beta * (chunk @ self.keys.T - 1)) @ self.values for chunk in chunks])

    def set_strengths(self, alpha: float, beta: float) -> None:
        """Replace α and β."""
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take in a cache of any number of embeddings, as one of other shots has."""
        for name in ("keys", "values"):
            held, stored = getattr(self, name), state_dict.get(prefix + name)
            if stored is not None and stored.shape[1:] == held.shape[1:]:
                held.data = held.data.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


def cache_classifier(
    embedding: Tensor,
    label: Tensor,
    class_text: Tensor,
    logit_scale: float,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> CacheClassifier:
    """Tip-Adapter, which needs no training: the embeddings are the keys, their labels as one-hot rows the values.

    Args:
        embedding: of the training images, (N, D).
        label: their classes, int64 (N,).
        class_text: T, (C, D).
        logit_scale: s.
        alpha: α.
        beta: β.
    """
    values = F.one_hot(label, len(class_text)).to(embedding.dtype)
    return CacheClassifier(embedding, values, logit_scale * class_text, alpha, beta)


def choose_strengths(
    classifier: CacheClassifier,
    embedding: Tensor,
    label: Tensor,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
) -> tuple[float, float]:
    """The α and β of a grid that classify the most validation rows correctly.

    Of equally good pairs it is the one of the least α, that is, nearest to the zero-shot classifier, and of those the
    one of the least β.

    Args:
        classifier: its own α and β do not count.
        embedding: of the validation images, (V, D).
        label: their classes, int64 (V,).
        alphas: the values of α that are tried.
        betas: the values of β that are tried.
    """
    zero_shot = embedding @ classifier.zero_shot.T
    scores = {}
    for beta in betas:
        with torch.no_grad():
            cached = classifier.cached(embedding, beta)
        for alpha in alphas:
            correct = (zero_shot + alpha * cached).argmax(dim=1) == label
            scores[alpha, beta] = (int(correct.sum()), -alpha, -beta)
    return max(scores, key=lambda pair: scores[pair])
