"""What the first stages of the methods share: settings, checks of the inputs, and the seeded fit of a network.

Pure torch. N: images, D: embedding width, C: classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError

Network = TypeVar("Network", bound=nn.Module)


class FittingSettings:
    """The settings that every first stage has; a method's own frozen dataclass gives their meaning and defaults.

    Raises:
        InputError: a value is out of its range.
    """

    alpha: float
    hidden_dim: int
    epochs: int
    lr: float
    weight_decay: float
    batch_size: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha must lie in [0, 1], not {self.alpha}")
        for name in ("hidden_dim", "epochs", "lr", "batch_size"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, not {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay must not be negative, not {self.weight_decay}")


def check_inputs(embeddings: Tensor, labels: Tensor, class_text: Tensor) -> None:
    """Refuse training embeddings (N, D), labels (N,) and class texts (C, D) that cannot be fitted.

    Raises:
        InputError: shapes or types do not fit together, or a label lies outside [0, C).
    """
    if embeddings.ndim != 2 or class_text.ndim != 2 or embeddings.shape[1] != class_text.shape[1]:
        raise InputError(
            f"embeddings (N, D) and class_text (C, D) must share D, got {tuple(embeddings.shape)} "
            f"and {tuple(class_text.shape)}"
        )
    if embeddings.dtype != torch.float32 or class_text.dtype != torch.float32 or labels.dtype != torch.int64:
        raise InputError(
            f"embeddings and class_text must be float32 and labels int64, got {embeddings.dtype}, {class_text.dtype} "
            f"and {labels.dtype}"
        )
    if labels.shape != embeddings.shape[:1] or len(labels) == 0:
        raise InputError(f"labels must be (N,) with N = {len(embeddings)} > 0, got {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= len(class_text):
        raise InputError(f"labels must lie in [0, {len(class_text)}), got {int(labels.min())} to {int(labels.max())}")


def seeded_network(make: Callable[[], Network], seed: int) -> Network:
    """A network whose initial weights follow from the seed; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def fit_epochs(
    network: nn.Module,
    losses: Callable[[Tensor], tuple[Tensor, ...]],
    embeddings: Tensor,
    settings: FittingSettings,
    *,
    seed: int,
) -> Iterator[tuple[int, list[float]]]:
    """Train a network with AdamW, epoch by epoch; the global random state is neither read nor changed.

    Args:
        network: trained in place.
        losses: for the row indices of a batch, the loss to lower and after it its parts, each a scalar tensor.
        embeddings: the training embeddings, (N, D).
        settings: see FittingSettings.
        seed: of the order of the embeddings.

    Yields:
        After each epoch its number from 1 and the means of the losses over its embeddings.

    Raises:
        InputError: the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(embeddings), generator=generator).to(embeddings.device)
        sums = torch.zeros(1, device=embeddings.device)
        for rows in order.split(settings.batch_size):
            parts = losses(rows)
            optimizer.zero_grad()
            parts[0].backward()
            optimizer.step()
            sums = sums + torch.stack(parts).detach() * len(rows)
        means = (sums / len(embeddings)).tolist()
        _check_finite(means[0], epoch)
        yield epoch, means


def _check_finite(loss: float, epoch: int) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise InputError(
            f"stage 1 diverged in epoch {epoch} (loss {loss}): lower the learning rate, or check the embeddings"
        )
