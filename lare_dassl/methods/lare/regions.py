"""LARE: regions around embeddings and samples drawn from them (arXiv 2409.12597, stage 1 and the sampling of stage 2).

Pure torch. N: images, B: images of a batch, D: embedding width, C: classes. Embeddings have unit length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.fitting import FittingSettings
from lare_dassl.methods.shared.settings import (
    ADDED,
    AT_LEAST_1,
    EPOCHS_OR_STEPS,
    LOGIT_SCALE,
    POSITIVE_RATE,
    RATE,
    SAMPLES,
    SHARE,
    STEPS,
    STRENGTH,
    WIDTH,
    Allowed,
    setting,
)

from .ordered import ordered

# A residual region starts this narrow: softplus(-4) is a half-width of about 0.018 in every dimension.
RESIDUAL_START = -4.0


@dataclass(frozen=True)
class RegionSettings(FittingSettings):
    """Settings of stage 1. The paper leaves these open; docs/lare.md shows how the values were chosen.

    >>> RegionSettings(alpha=0.5).epochs
    0
    """

    alpha: float = setting(0.3, "weight of class consistency against region volume in equation 5", SHARE)
    parametrisation: str = setting(
        "minmax",
        "region of an embedding: minmax orders the network's two outputs elementwise; residual takes a centre near the "
        "embedding and a positive half-width",
        Allowed(choices=("minmax", "residual")),
        key="REGION",
    )
    normalise_corners: bool = setting(
        True, "scale corners and centre to unit length inside the losses; False takes raw inner products"
    )
    hidden_dim: int = setting(384, "width of the region network's hidden layer", WIDTH)
    epochs: int = setting(
        0, "passes of stage 1 over the training embeddings; 0 for as many as make STEPS steps", EPOCHS_OR_STEPS
    )
    lr: float = setting(3e-3, "learning rate of AdamW in stage 1", POSITIVE_RATE)
    weight_decay: float = setting(5e-3, "weight decay of AdamW in stage 1", RATE)
    batch_size: int = setting(256, "embeddings of one step of stage 1", AT_LEAST_1)
    steps: int = setting(200, "steps of stage 1 where EPOCHS is 0: 10 to 200 epochs that make so many", STEPS)


@dataclass(frozen=True)
class LARESettings(RegionSettings):
    """Settings of stage 1, and of the regional samples of stage 2."""

    samples_per_image: int = setting(1, ADDED, SAMPLES)
    logit_scale: float = setting(0.0, LOGIT_SCALE, STRENGTH)


@dataclass(frozen=True)
class Regions:
    """Boxes in embedding space.

    >>> Regions(lower=torch.zeros(1, 2), upper=torch.ones(1, 2)).centre
    tensor([[0.5000, 0.5000]])

    Attributes:
        lower: X⁻, (B, D).
        upper: X⁺, (B, D); nowhere below `lower`.
    """

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """(X⁺ + X⁻) / 2, (B, D)."""
        return (self.upper + self.lower) / 2

    def normalised(self) -> NormalisedRegions:
        """Corners and centre, each scaled to unit length."""
        return NormalisedRegions(*(F.normalize(corner, dim=-1) for corner in (self.lower, self.upper, self.centre)))


@dataclass(frozen=True)
class NormalisedRegions:
    """Lower corner, upper corner and centre of regions, each (B, D) and of unit length; they no longer span a box."""

    lower: Tensor
    upper: Tensor
    centre: Tensor


class RegionNetwork(nn.Module):
    """f_box: gives an embedding its region by two linear layers with a ReLU between.

    >>> regions = RegionNetwork(embedding_dim=8, hidden_dim=4)(torch.randn(5, 8))
    >>> regions.lower.shape, bool((regions.lower <= regions.upper).all())
    (torch.Size([5, 8]), True)

    Args:
        embedding_dim: D.
        hidden_dim: width of the hidden layer.
        parametrisation: see RegionSettings.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int, parametrisation: str = "minmax") -> None:
        super().__init__()
        self.parametrisation = parametrisation
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.corners = nn.Linear(hidden_dim, 2 * embedding_dim)

    def forward(self, embedding: Tensor) -> Regions:
        """Regions of embeddings (B, D)."""
        first, second = self.corners(F.relu(self.hidden(embedding))).chunk(2, dim=-1)
        if self.parametrisation == "residual":
            centre, half_width = embedding + first, F.softplus(second + RESIDUAL_START)
            return Regions(centre - half_width, centre + half_width)
        return Regions(*ordered(first, second))


def volume_loss(lower: Tensor, upper: Tensor) -> Tensor:
    """Equation 1, box volume: the mean of X⁺ · X⁻ over the batch; lower values keep the corners further apart.

    Args:
        lower: (B, D).
        upper: (B, D).
    """
    return (lower * upper).sum(dim=-1).mean()


def consistency_loss(point: Tensor, label: Tensor, class_text: Tensor, logit_scale: float) -> Tensor:
    """Equations 2, 3 and 4, class consistency of one point of each region: CE(softmax(s · point · Tᵀ), y), batch mean.

    The loss of that name in LADS is the same, of a moved embedding.

    Args:
        point: upper corner (equation 2), lower corner (3) or centre (4), (B, D).
        label: y, int64 (B,).
        class_text: T, (C, D).
        logit_scale: s, the inverse temperature.
    """
    return F.cross_entropy(logit_scale * point @ class_text.T, label)


def lare_loss(volume: Tensor, upper: Tensor, lower: Tensor, centre: Tensor, alpha: float) -> Tensor:
    """Equation 5: (1 − α) L_BV + (α / 3)(L_CC⁺ + L_CC⁻ + L_CC).

    Args:
        volume: L_BV of equation 1.
        upper: L_CC⁺ of equation 2.
        lower: L_CC⁻ of equation 3.
        centre: L_CC of equation 4.
        alpha: α in [0, 1].
    """
    return (1 - alpha) * volume + alpha / 3 * (upper + lower + centre)


def sample_regions(regions: Regions, generator: torch.Generator | None = None) -> Tensor:
    """One regional sample of each region: uniform between the corners, scaled to unit length.

    >>> regions = Regions(lower=torch.zeros(5, 8), upper=torch.ones(5, 8))
    >>> sample_regions(regions).norm(dim=-1).allclose(torch.ones(5))
    True

    Args:
        regions: corners (B, D).
        generator: source of the draw, on the corners' device.

    Returns:
        (B, D).
    """
    share = torch.rand(regions.lower.shape, generator=generator, dtype=regions.lower.dtype, device=regions.lower.device)
    return F.normalize(torch.lerp(regions.lower, regions.upper, share), dim=-1)


@dataclass(frozen=True)
class RegionalSamples:
    """Regional samples of the training embeddings, drawn afresh for every batch.

    >>> samples = RegionalSamples(Regions(torch.zeros(5, 8), torch.ones(5, 8)), samples_per_image=2)
    >>> [block.shape for block in samples.draw(torch.tensor([4, 0, 1]), torch.Generator())]
    [torch.Size([3, 8]), torch.Size([3, 8])]

    Attributes:
        regions: a region for each embedding, corners (N, D).
        samples_per_image: regional samples of each embedding in a batch.

    Raises:
        InputError: samples_per_image < 0, or corners of different shapes.
    """

    regions: Regions
    samples_per_image: int = 1

    def __post_init__(self) -> None:
        if self.samples_per_image < 0:
            raise InputError(f"samples per image must not be negative, not {self.samples_per_image}")
        lower, upper = self.regions.lower.shape, self.regions.upper.shape
        if lower != upper:
            raise InputError(f"corners of regions must have one shape, got {tuple(lower)} and {tuple(upper)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return tuple(self.regions.lower.shape)

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        """A block (B, D) of fresh samples for each of `samples_per_image`."""
        regions = Regions(*(corner.index_select(0, indices) for corner in (self.regions.lower, self.regions.upper)))
        return [sample_regions(regions, generator) for _ in range(self.samples_per_image)]


def region_losses(
    regions: Regions, label: Tensor, class_text: Tensor, logit_scale: float, settings: RegionSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Equation 5 with its parts for one batch: (L_LARE, L_BV, mean of the three L_CC), each a scalar tensor."""
    points = regions.normalised() if settings.normalise_corners else regions
    volume = volume_loss(points.lower, points.upper)
    upper, lower, centre = (
        consistency_loss(point, label, class_text, logit_scale) for point in (points.upper, points.lower, points.centre)
    )
    return lare_loss(volume, upper, lower, centre, settings.alpha), volume, (upper + lower + centre) / 3
