from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.lare.regions import (
    RegionalSamples,
    RegionNetwork,
    Regions,
    RegionSettings,
    consistency_loss,
    lare_loss,
    region_losses,
    sample_regions,
    volume_loss,
)

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}


def random_problem(dtype=torch.float64, rows=7, width=5, classes=4, seed=0):
    """Corners of regions, labels and class texts, all random."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    class_text = F.normalize(torch.randn(classes, width, generator=generator, dtype=torch.float64), dim=-1)
    regions = Regions(torch.minimum(first, second).to(dtype), torch.maximum(first, second).to(dtype))
    return regions, torch.arange(rows) % classes, class_text.to(dtype)


def loop_volume(lower, upper):
    """Equation 1 by a loop over rows and dimensions."""
    rows = zip(lower.tolist(), upper.tolist(), strict=True)
    return sum(sum(low * high for low, high in zip(*row, strict=True)) for row in rows) / len(lower)


def loop_consistency(point, label, class_text, scale):
    """Equations 2 to 4 by a loop: minus the log of the softmax at the true class."""
    total = 0.0
    for row, true in zip(point.tolist(), label.tolist(), strict=True):
        logits = [scale * sum(a * b for a, b in zip(row, text, strict=True)) for text in class_text.tolist()]
        highest = max(logits)
        total -= logits[true] - highest - math.log(sum(math.exp(logit - highest) for logit in logits))
    return total / len(label)


def loop_unit(points):
    return torch.tensor([[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in points.tolist()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_equation_1_is_the_mean_inner_product_of_the_corners(dtype):
    regions, _, _ = random_problem(dtype)
    expected = loop_volume(regions.lower, regions.upper)
    tolerance = TOLERANCE[dtype]
    assert volume_loss(regions.lower, regions.upper).item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("scale", [1.0, 14.0])
@pytest.mark.parametrize("point", ["upper", "lower", "centre"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equations_2_to_4_are_cross_entropies_with_the_texts(dtype, point, scale):
    regions, label, class_text = random_problem(dtype)
    corner = getattr(regions, point)
    expected = loop_consistency(corner, label, class_text, scale)
    assert consistency_loss(corner, label, class_text, scale).item() == pytest.approx(expected, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equation_5_weighs_its_four_parts(alpha):
    volume, upper, lower, centre = torch.tensor([-0.4, 1.0, 2.5, 0.25], dtype=torch.float64)
    expected = (1 - alpha) * -0.4 + alpha / 3 * (1.0 + 2.5 + 0.25)
    assert lare_loss(volume, upper, lower, centre, alpha).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("normalise", [True, False])
def test_region_losses_join_the_equations(normalise):
    regions, label, class_text = random_problem()
    settings = RegionSettings(alpha=0.7, normalise_corners=normalise)
    total, volume, consistency = region_losses(regions, label, class_text, 3.0, settings)

    centre = torch.tensor([[(a + b) / 2 for a, b in zip(*rows, strict=True)] for rows in corner_pairs(regions)])
    points = [regions.lower, regions.upper, centre.double()]
    if normalise:
        points = [loop_unit(point) for point in points]
    expected_volume = loop_volume(points[0], points[1])
    expected = [loop_consistency(point, label, class_text, 3.0) for point in points]
    assert volume.item() == pytest.approx(expected_volume, rel=1e-5)
    assert consistency.item() == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert total.item() == pytest.approx(0.3 * expected_volume + 0.7 / 3 * sum(expected), rel=1e-5)


def corner_pairs(regions):
    return zip(regions.lower.tolist(), regions.upper.tolist(), strict=True)


def test_normalised_regions_have_unit_corners_and_centre():
    points = random_problem()[0].normalised()
    for point in (points.lower, points.upper, points.centre):
        torch.testing.assert_close(point.norm(dim=-1), torch.ones(7, dtype=torch.float64))


def test_a_sample_is_a_uniform_point_of_the_box_at_unit_length():
    regions, _, _ = random_problem(torch.float32)
    share = torch.rand(regions.lower.shape, generator=torch.Generator().manual_seed(3))
    box_points = regions.lower + share * (regions.upper - regions.lower)
    assert (regions.lower <= box_points).all() and (box_points <= regions.upper).all()
    expected = box_points / box_points.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(sample_regions(regions, torch.Generator().manual_seed(3)), expected)


def test_samples_of_a_thin_box_are_spread_evenly_over_it():
    # Along one edge, from (1, 0) to (1, 1): the tangent of the sample's angle is the uniform share.
    regions = Regions(torch.tensor([[1.0, 0.0]]).repeat(4000, 1), torch.tensor([[1.0, 1.0]]).repeat(4000, 1))
    sample = sample_regions(regions, torch.Generator().manual_seed(0))
    share = sample[:, 1] / sample[:, 0]
    counts = torch.histc(share, bins=4, min=0, max=1)
    assert counts.sum() == 4000
    assert (counts - 1000).abs().max() < 110  # four standard deviations of a binomial


def test_regional_samples_are_drawn_from_the_rows_asked_for():
    regions, _, _ = random_problem(torch.float32)
    samples = RegionalSamples(regions, 2)
    rows = torch.tensor([4, 1, 4])
    blocks = samples.draw(rows, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    chosen = Regions(regions.lower[rows], regions.upper[rows])
    assert samples.shape == (7, 5)
    assert len(blocks) == 2
    for block in blocks:
        assert torch.equal(block, sample_regions(chosen, generator))
    assert RegionalSamples(regions, 0).draw(rows, generator) == []


def test_regional_samples_that_cannot_be_drawn_are_told():
    corners = torch.zeros(10, 6)
    with pytest.raises(InputError, match="samples per image must not be negative, not -1"):
        RegionalSamples(Regions(corners, corners), -1)
    with pytest.raises(InputError, match=r"corners of regions must have one shape, got \(10, 6\) and \(9, 6\)"):
        RegionalSamples(Regions(corners, corners[:9]))


@pytest.mark.parametrize("parametrisation", ["minmax", "residual"])
def test_an_untrained_network_already_orders_its_corners(parametrisation):
    torch.manual_seed(0)
    network = RegionNetwork(6, 16, parametrisation)
    with torch.no_grad():
        regions = network(torch.randn(50, 6) * 10)
    assert regions.lower.shape == regions.upper.shape == (50, 6)
    assert (regions.lower <= regions.upper).all()
    assert (regions.lower < regions.upper).float().mean() == 1.0


def test_a_silent_network_gives_narrow_boxes_around_embeddings():
    network = RegionNetwork(3, 8, "residual")
    with torch.no_grad():
        network.corners.weight.zero_()
        network.corners.bias.zero_()
        regions = network(torch.tensor([[1.0, 0.0, -2.0]]))
    torch.testing.assert_close(regions.centre, torch.tensor([[1.0, 0.0, -2.0]]))
    half_width = math.log(1 + math.exp(-4.0))
    torch.testing.assert_close(regions.upper - regions.lower, torch.full((1, 3), 2 * half_width))


def test_a_residual_region_is_moved_and_widened_by_the_outputs():
    network = RegionNetwork(2, 8, "residual")
    with torch.no_grad():
        network.corners.weight.zero_()
        network.corners.bias.copy_(torch.tensor([0.5, -0.25, 4.0, 5.0]))
        regions = network(torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(regions.centre, torch.tensor([[1.5, -0.25]]))
    half_widths = [math.log(2), math.log(1 + math.e)]
    torch.testing.assert_close(regions.upper - regions.centre, torch.tensor([half_widths]))


@pytest.mark.parametrize("kind", [torch.float64, "meta"])
def test_samples_have_the_type_and_the_place_of_the_regions(kind):
    lower = torch.zeros(3, 4).to(kind)
    sample = sample_regions(Regions(lower, lower + 1))
    assert (sample.dtype, sample.device) == (lower.dtype, lower.device)
