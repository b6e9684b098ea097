"""The fit of a network in a first stage: settings, checks of the inputs, and the seeded loop.

Pure torch. N: images, D: embedding width, C: classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lare_dassl.errors import InputError

from .settings import Settings

Network = TypeVar("Network", bound=nn.Module)
# For a network and the rows of a batch, one tensor for each of the fit's data: the loss to lower, and after it its
# parts, each a scalar tensor.
Losses = Callable[..., tuple[Tensor, ...]]
# Devices on which an optimiser can take its step in one pass over the parameters.
FUSING_DEVICES = ("cpu", "cuda")
LEAST_EPOCHS, MOST_EPOCHS = 10, 200


def epochs_for(rows: int, batch_size: int, steps: int) -> int:
    """As many passes over the rows as make `steps` steps, but at least LEAST_EPOCHS and at most MOST_EPOCHS.

    Many rows need steps rather than passes: 400 steps are 17 passes over the 5,994 of CUB in batches of 256.
    """
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(steps / math.ceil(rows / batch_size))))


class FittingSettings(Settings):
    """The settings that every first stage has; a method's own frozen dataclass gives their defaults and ranges."""

    alpha: float
    hidden_dim: int
    epochs: int
    lr: float
    weight_decay: float
    batch_size: int
    # Steps of the optimiser where `epochs` is 0, which not every first stage takes.
    steps = 0

    def epochs_for(self, rows: int) -> int:
        """Passes of a fit over so many training embeddings."""
        return self.epochs or epochs_for(rows, self.batch_size, self.steps)


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
    losses: Losses,
    data: tuple[Tensor, ...],
    settings: FittingSettings,
    *,
    seed: int,
) -> Iterator[tuple[int, list[float]]]:
    """Train a network with AdamW, epoch by epoch; the global random state is neither read nor changed.

    Args:
        network: trained in place.
        losses: see Losses.
        data: tensors with a row for each training image, (N, ...).
        settings: see FittingSettings.
        seed: of the order of the rows.

    Yields:
        After each epoch its number from 1 and the means of the losses over its rows.

    Raises:
        InputError: the loss is no longer finite.
    """
    rows, device = len(data[0]), data[0].device
    optimizer = adamw([*network.parameters()], settings)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, settings.epochs_for(rows) + 1):
        order = torch.randperm(rows, generator=generator).to(device)
        sums = torch.zeros(1, device=device)
        for chosen in order.split(settings.batch_size):
            parts = losses(network, *(part.index_select(0, chosen) for part in data))
            optimizer.zero_grad()
            parts[0].backward()
            optimizer.step()
            sums = sums + torch.stack(parts).detach() * len(chosen)
        means = (sums / rows).tolist()
        check_finite(means[0], epoch)
        yield epoch, means


def adamw(parameters: list[Tensor], settings: FittingSettings, **options: Any) -> torch.optim.AdamW:
    """The optimiser of a first stage, in one pass over the parameters where the device has it."""
    fused = parameters[0].device.type in FUSING_DEVICES
    known: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": fused}
    return torch.optim.AdamW(parameters, **known | options)


def check_finite(loss: float, epoch: int) -> None:
    """Refuse to go on with a loss that is NaN or infinite.

    Raises:
        InputError: names the epoch.
    """
    if not math.isfinite(loss):
        raise InputError(
            f"stage 1 diverged in epoch {epoch} (loss {loss}): lower the learning rate, or check the embeddings"
        )
