"""Stage 1 of LARE: the fit of a region network, for one seed or for several at once (arXiv 2409.12597).

Pure torch. S: seeds, N: images, D: embedding width, C: classes. Embeddings have unit length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lare_dassl.methods.shared.fitting import Losses, check_inputs, fit_epochs, seeded_network
from lare_dassl.methods.shared.seeds_together import fit_epochs_together

from .fast_path import fast_region_losses
from .regions import RegionNetwork, Regions, RegionSettings, region_losses


@dataclass(frozen=True)
class StageOneLoss:
    """Means over one epoch of stage 1: equation 5, equation 1, and the mean of equations 2 to 4."""

    total: float
    volume: float
    consistency: float


def fit_regions(
    embeddings: Tensor,
    labels: Tensor,
    class_text: Tensor,
    *,
    logit_scale: float = 100.0,
    settings: RegionSettings | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, StageOneLoss], None] | None = None,
) -> RegionNetwork:
    """Stage 1 of LARE: train a region network by equation 5 with AdamW.

    The result depends on the arguments alone; the global random state is neither read nor changed.

    >>> import torch
    >>> images, labels, texts = torch.eye(6), torch.tensor([0, 0, 0, 1, 1, 1]), torch.eye(6)[[0, 3]]
    >>> network = fit_regions(images, labels, texts, settings=RegionSettings(epochs=2, hidden_dim=4))
    >>> network(images).centre.shape
    torch.Size([6, 6])

    Args:
        embeddings: unit-length image embeddings of the training images, float32 (N, D).
        labels: their classes, int64 (N,), each in [0, C).
        class_text: unit-length class text embeddings, float32 (C, D).
        logit_scale: inverse temperature of the softmax; the VLM's own is the usual choice (100 for CLIP).
        settings: see RegionSettings.
        seed: of the initial weights and the order of the embeddings.
        on_epoch: called after each epoch with its number from 1 and its mean losses.

    Returns:
        The trained network, in eval mode, on the embeddings' device.

    Raises:
        InputError: shapes or types do not fit together, a label lies outside [0, C), or the loss is no longer finite.
    """
    settings = settings or RegionSettings()
    check_inputs(embeddings, labels, class_text)
    network = new_network(embeddings.shape[1], settings, seed).to(embeddings.device)
    losses = _losses_of_rows(class_text, logit_scale, settings)
    for epoch, means in fit_epochs(network, losses, (embeddings, labels), settings, seed=seed):
        if on_epoch is not None:
            on_epoch(epoch, StageOneLoss(*means))
    return network.eval()


def fit_regions_together(
    embeddings: Tensor,
    labels: Tensor,
    class_text: Tensor,
    *,
    seeds: Sequence[int],
    logit_scale: float = 100.0,
    settings: RegionSettings | None = None,
    on_epoch: Callable[[int, list[StageOneLoss]], None] | None = None,
) -> list[RegionNetwork]:
    """Stage 1 of LARE for several seeds at once: up to rounding what `fit_regions` gives for each.

    Args:
        embeddings: of each seed, float32 (S, N, D).
        labels: int64 (S, N).
        class_text: as of fit_regions, as is all that is not named here.
        seeds: S numbers.
        on_epoch: called after each epoch with its number from 1 and the mean losses of each seed.

    Raises:
        InputError: see fit_regions.
    """
    settings = settings or RegionSettings()
    for of_seed in zip(embeddings, labels, strict=True):
        check_inputs(*of_seed, class_text)
    networks = [new_network(embeddings.shape[2], settings, seed).to(embeddings.device) for seed in seeds]
    losses = _losses_of_rows(class_text, logit_scale, settings)
    for epoch, means in fit_epochs_together(networks, losses, (embeddings, labels), settings, seeds=seeds):
        if on_epoch is not None:
            on_epoch(epoch, [StageOneLoss(*of_seed) for of_seed in means])
    return [network.eval() for network in networks]


def new_network(embedding_dim: int, settings: RegionSettings, seed: int) -> RegionNetwork:
    """The region network of a seed before its training."""
    return seeded_network(lambda: RegionNetwork(embedding_dim, settings.hidden_dim, settings.parametrisation), seed)


def _losses_of_rows(class_text: Tensor, logit_scale: float, settings: RegionSettings) -> Losses:
    """The losses of a network on a batch of embeddings and labels."""
    equations = fast_region_losses if settings.normalise_corners else region_losses

    def losses(network: Callable[[Tensor], Regions], embedding: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        return equations(network(embedding), label, class_text, logit_scale, settings)

    return losses
