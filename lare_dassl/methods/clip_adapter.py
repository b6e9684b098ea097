"""CLIP-Adapter: a small residual network on image embeddings, before the zero-shot classifier (Gao et al., 2021).

Pure torch. B: images of a batch, D: embedding width, C: classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lare_dassl.methods.shared.settings import AT_LEAST_1, SHARE, Settings, setting


@dataclass(frozen=True)
class AdapterSettings(Settings):
    """Shape of the adapter; the paper's, on ImageNet."""

    ratio: float = setting(0.2, "share of the adapted embedding in the sum with the frozen one", SHARE)
    reduction: int = setting(4, "factor by which the adapter's hidden layer is narrower than the embedding", AT_LEAST_1)


class AdapterClassifier(nn.Module):
    """The adapter of the image branch and the zero-shot classifier behind it; the texts are not adapted.

    Args:
        class_text: unit-length class text embeddings, (C, D).
        logit_scale: s, the VLM's inverse temperature.
        hidden_dim: width of the adapter's hidden layer.
        ratio: see AdapterSettings.
    """

    kind: ClassVar[str] = "clip_adapter"

    class_text: Tensor
    logit_scale: Tensor
    ratio: Tensor

    def __init__(self, class_text: Tensor, logit_scale: float, hidden_dim: int, ratio: float) -> None:
        super().__init__()
        width = class_text.shape[1]
        self.down = nn.Linear(width, hidden_dim, bias=False)
        self.up = nn.Linear(hidden_dim, width, bias=False)
        self.register_buffer("class_text", class_text.clone())
        self.register_buffer("logit_scale", torch.tensor(logit_scale))
        self.register_buffer("ratio", torch.tensor(ratio))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The adapter whose state dict this is."""
        adapter = cls(
            state["class_text"], float(state["logit_scale"]), len(state["down.weight"]), float(state["ratio"])
        )
        adapter.load_state_dict(state)
        return adapter

    def adapt(self, embedding: Tensor) -> Tensor:
        """Adapted embeddings of unit length, (B, D): r · relu(W₂ relu(W₁ x)) + (1 − r) · x, scaled to unit length."""
        adapted = F.relu(self.up(F.relu(self.down(embedding))))
        return F.normalize(self.ratio * adapted + (1 - self.ratio) * embedding, dim=-1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, C) of unit-length embeddings (B, D): s times the cosine of adapted embedding and class text."""
        return self.logit_scale * self.adapt(embedding) @ self.class_text.T
