from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.methods.lare import fast_path
from lare_dassl.methods.lare.fast_path import CompactSamples, fast_region_losses, steps
from lare_dassl.methods.lare.regions import RegionNetwork, Regions, RegionSettings, region_losses


def test_corners_without_length_give_finite_losses():
    zero = torch.zeros(2, 4, requires_grad=True)
    regions, label = Regions(zero, zero + 0.0), torch.tensor([0, 1])
    for losses in (region_losses, fast_region_losses):
        loss = losses(regions, label, torch.eye(4)[:2], 30.0, RegionSettings())[0]
        (gradient,) = torch.autograd.grad(loss, zero)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_fast_path_is_equal_to_the_equations(clusters, alpha):
    """Losses and gradients, in double precision."""
    embedding, label, class_text = clusters
    settings, network = RegionSettings(alpha=alpha), RegionNetwork(embedding.shape[1], 8).double()
    found = []
    for losses in (region_losses, fast_region_losses):
        network.zero_grad()
        parts = losses(network(embedding.double()), label, class_text.double(), 30.0, settings)
        parts[0].backward()
        found.append([*(part.detach() for part in parts), *(p.grad.clone() for p in network.parameters())])
    assert len(found[0]) == 3 + 4
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


def test_nearly_opposite_corners_give_equal_losses_in_float32():
    generator = torch.Generator().manual_seed(0)
    upper = F.normalize(torch.randn(1, 16, generator=generator), dim=-1)
    class_text = F.normalize(torch.randn(4, 16, generator=generator), dim=-1)
    for gap in (1e-2, 1e-3, 3e-4, 1e-5):
        regions = Regions(-upper + gap * class_text[:1], upper)
        exact, fast = (
            losses(regions, torch.tensor([1]), class_text, 100.0, RegionSettings())[0].item()
            for losses in (region_losses, fast_region_losses)
        )
        assert fast == pytest.approx(exact, rel=0.02 if gap >= 1e-2 else 1.0)


def boxes(rows=3, width=5):
    """Corners (N, D) of some boxes, far from unit length."""
    generator = torch.Generator().manual_seed(0)
    lower = 50 * torch.randn(rows, width, generator=generator)
    return Regions(lower, lower + 30 * torch.rand(rows, width, generator=generator))


def test_compact_samples_lie_in_their_regions_and_fill_them(monkeypatch):
    """A sample is a point of its box but for its length; all together are spread as draws with torch.rand are."""
    regions = boxes()
    monkeypatch.setattr(fast_path, "ROWS_AT_A_TIME", 2)
    samples = CompactSamples.of(
        lambda rows: Regions(regions.lower[rows[:, 0].long()], regions.upper[rows[:, 0].long()]),
        torch.arange(3.0)[:, None].expand(3, 5),
        samples_per_image=4000,
    )
    assert samples.shape == (3, 5)
    drawn = torch.stack(samples.draw(torch.tensor([2, 0]), torch.Generator().manual_seed(1)))
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(4000, 2))
    for place, row in enumerate((2, 0)):
        lower, upper = regions.lower[row], regions.upper[row]
        # The greatest multiple of a direction that is in the box, and the least: some multiple must be.
        directions = drawn[:, place]
        ends = torch.stack([lower / directions, upper / directions])
        tolerance = 1 + 2**-9
        assert (ends.amin(dim=0).amax(dim=-1) <= ends.amax(dim=0).amin(dim=-1) * tolerance).all()
        exact = F.normalize(
            lower + (upper - lower) * torch.rand(4000, 5, generator=torch.Generator().manual_seed(2)), dim=-1
        )
        torch.testing.assert_close(directions.mean(dim=0), exact.mean(dim=0), atol=0.01, rtol=0)
        torch.testing.assert_close(directions.std(dim=0), exact.std(dim=0), atol=0.01, rtol=0)


def test_each_sample_is_fresh_and_follows_from_the_generator():
    regions = boxes()
    samples = CompactSamples.of(lambda rows: regions, torch.ones(3, 5), samples_per_image=2)
    rows = torch.arange(3)
    first, second = samples.draw(rows, torch.Generator().manual_seed(4))
    assert not torch.equal(first, second)
    again = samples.draw(rows, torch.Generator().manual_seed(4))
    assert torch.equal(again[0], first) and torch.equal(again[1], second)
    assert CompactSamples(samples.centre, samples.side, 0).draw(rows, torch.Generator()) == []


def test_a_region_without_length_or_extent_gives_its_point():
    zero, point = torch.zeros(1, 4), torch.tensor([[0.0, 3.0, 0.0, -4.0]])
    for corner, expected in ((zero, zero), (point, point / 5)):
        samples = CompactSamples.of(lambda rows, corner=corner: Regions(corner, corner), torch.ones(1, 4))
        torch.testing.assert_close(samples.draw(torch.tensor([0]), torch.Generator())[0], expected, atol=1e-3, rtol=0)


def test_steps_are_uniform_on_all_that_16_bits_hold():
    drawn = steps(torch.Size([400, 1023]), torch.Generator().manual_seed(0))
    assert drawn.shape == (400, 1023)
    assert (drawn.min(), drawn.max()) == (-(2**15), 2**15 - 1)
    assert torch.equal(drawn, drawn.round())
    counts = torch.histc(drawn, bins=16, min=-(2**15), max=2**15)
    expected = drawn.numel() / 16
    assert (counts - expected).abs().max() < 5 * expected**0.5
    # Neighbours come from one draw of 64 bits; they must not go together.
    assert torch.corrcoef(drawn[:, :4].T).fill_diagonal_(0).abs().max() < 0.2
