"""LADS: networks that move image embeddings to domains described in words (Dunlap et al., arXiv 2210.09520, stage 1).

Pure torch. N: images, B: images of a batch, D: embedding width, C: classes. Embeddings have unit length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lare_dassl.errors import InputError
from lare_dassl.methods.lare.regions import consistency_loss
from lare_dassl.methods.shared.fitting import FittingSettings, check_inputs, fit_epochs, seeded_network
from lare_dassl.methods.shared.settings import (
    AT_LEAST_1,
    EPOCHS,
    LOGIT_SCALE,
    POSITIVE_RATE,
    RATE,
    SHARE,
    STRENGTH,
    WIDTH,
    setting,
)


@dataclass(frozen=True)
class AugmentationSettings(FittingSettings):
    """Settings of stage 1: the paper's, and those of docs/lads.md where the paper gives none.

    >>> AugmentationSettings().epochs
    50
    """

    alpha: float = setting(0.5, "weight of the directional loss against class consistency", SHARE)
    hidden_dim: int = setting(384, "width of an augmentation network's hidden layer", WIDTH)
    epochs: int = setting(50, "passes of stage 1 over the training embeddings", EPOCHS)
    lr: float = setting(1e-3, "learning rate of AdamW in stage 1", POSITIVE_RATE)
    weight_decay: float = setting(5e-3, "weight decay of AdamW in stage 1", RATE)
    batch_size: int = setting(256, "embeddings of one step of stage 1", AT_LEAST_1)


@dataclass(frozen=True)
class LADSSettings(AugmentationSettings):
    """Settings of stage 1, and the domains to move embeddings to."""

    targets: tuple[str, ...] = setting(
        (), "described domains to move embeddings to; [] for all but the sources and domains that the run leaves out"
    )
    logit_scale: float = setting(0.0, LOGIT_SCALE, STRENGTH)


class AugmentationNetwork(nn.Module):
    """f: moves an embedding to one domain, by two linear layers with a ReLU between.

    >>> AugmentationNetwork(embedding_dim=8, hidden_dim=4)(torch.randn(5, 8)).norm(dim=-1).allclose(torch.ones(5))
    True

    Args:
        embedding_dim: D.
        hidden_dim: width of the hidden layer.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, embedding_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """Moved embeddings of unit length, (B, D), of embeddings (B, D)."""
        return F.normalize(self.output(F.relu(self.hidden(embedding))), dim=-1)


def directional_loss(moved: Tensor, embedding: Tensor, target_text: Tensor, source_text: Tensor) -> Tensor:
    """Directional loss: the batch mean of 1 − cos(f(x) − x, T(target, y) − T(source, y)).

    Args:
        moved: f(x), (B, D).
        embedding: x, (B, D).
        target_text: T(target, y), each image's class described in the target domain, (B, D).
        source_text: T(source, y), each image's class described in the image's own domain, (B, D).
    """
    return (1 - F.cosine_similarity(moved - embedding, target_text - source_text, dim=-1)).mean()


def lads_loss(directional: Tensor, consistency: Tensor, alpha: float) -> Tensor:
    """The loss of LADS: α L_directional + (1 − α) L_consistency.

    Args:
        directional: see directional_loss.
        consistency: class consistency of the moved embeddings, see regions.consistency_loss.
        alpha: α in [0, 1].
    """
    return alpha * directional + (1 - alpha) * consistency


@dataclass(frozen=True)
class AugmentationLoss:
    """Means over one epoch of stage 1: the loss, and its two parts."""

    total: float
    directional: float
    consistency: float


def fit_augmentation(
    embeddings: Tensor,
    labels: Tensor,
    class_text: Tensor,
    source_text: Tensor,
    target_text: Tensor,
    *,
    logit_scale: float = 100.0,
    settings: AugmentationSettings | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, AugmentationLoss], None] | None = None,
) -> AugmentationNetwork:
    """Stage 1 of LADS for one target domain: train an augmentation network with AdamW.

    The result depends on the arguments alone; the global random state is neither read nor changed.

    >>> images, labels, texts = torch.eye(6), torch.tensor([0, 0, 0, 1, 1, 1]), torch.eye(6)[[0, 3]]
    >>> photo, sketch = texts[labels], texts.roll(1, dims=1)[labels]
    >>> settings = AugmentationSettings(epochs=2, hidden_dim=4)
    >>> fit_augmentation(images, labels, texts, photo, sketch, settings=settings)(images).shape
    torch.Size([6, 6])

    Args:
        embeddings: as of fit_regions, as is all that is not named here; float32 (N, D).
        source_text: each image's class described in the image's own domain, unit length, float32 (N, D).
        target_text: each image's class described in the target domain, unit length, float32 (N, D).
        settings: see AugmentationSettings.

    Returns:
        The trained network, in eval mode, on the embeddings' device.

    Raises:
        InputError: see fit_regions.
    """
    settings = settings or AugmentationSettings()
    check_inputs(embeddings, labels, class_text)
    _check_descriptions(embeddings, source_text, target_text)
    network = seeded_network(lambda: AugmentationNetwork(embeddings.shape[1], settings.hidden_dim), seed)
    network = network.to(embeddings.device)

    def losses(
        network: nn.Module, embedding: Tensor, label: Tensor, target: Tensor, source: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        moved = network(embedding)
        directional = directional_loss(moved, embedding, target, source)
        consistency = consistency_loss(moved, label, class_text, logit_scale)
        return lads_loss(directional, consistency, settings.alpha), directional, consistency

    data = (embeddings, labels, target_text, source_text)
    for epoch, means in fit_epochs(network, losses, data, settings, seed=seed):
        if on_epoch is not None:
            on_epoch(epoch, AugmentationLoss(*means))
    return network.eval()


def _check_descriptions(embeddings: Tensor, source_text: Tensor, target_text: Tensor) -> None:
    for name, text in (("source_text", source_text), ("target_text", target_text)):
        if text.shape != embeddings.shape or text.dtype != torch.float32:
            raise InputError(
                f"{name} must be float32 {tuple(embeddings.shape)} as the embeddings, "
                f"got {text.dtype} {tuple(text.shape)}"
            )
