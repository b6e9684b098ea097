from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.methods.controls import NoisyEmbeddings, TextInterpolations


def unit(rows, width, seed):
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def seeded():
    return torch.Generator().manual_seed(9)


def normalised_by_hand(values):
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def test_noise_is_added_number_by_number():
    rows, indices = unit(6, 4, 0), torch.tensor([4, 0, 5])
    (block,) = NoisyEmbeddings(rows, 1, sigma=0.7).draw(indices, seeded())
    noise = torch.randn(3, 4, generator=seeded())
    for place, index in enumerate(indices.tolist()):
        moved = [float(rows[index, d]) + 0.7 / 2 * float(noise[place, d]) for d in range(4)]
        torch.testing.assert_close(block[place], torch.tensor(normalised_by_hand(moved)))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("width", [128, 512])
def test_the_cosine_to_the_embedding_follows_from_sigma_alone(sigma, width):
    rows = unit(500, width, 0)
    (block,) = NoisyEmbeddings(rows, 1, sigma).draw(torch.arange(500), seeded())
    assert float((block * rows).sum(dim=1).mean()) == pytest.approx(1 / math.sqrt(1 + sigma**2), abs=0.01)


def test_interpolations_lie_at_a_share_of_the_way_to_the_text():
    rows, text, indices = unit(6, 4, 0), unit(6, 4, 1), torch.tensor([2, 2, 1])
    (block,) = TextInterpolations(rows, 1, text).draw(indices, seeded())
    shares = torch.rand(3, 1, generator=seeded())[:, 0].tolist()
    for place, (index, share) in enumerate(zip(indices.tolist(), shares, strict=True)):
        point = [(1 - share) * float(rows[index, d]) + share * float(text[index, d]) for d in range(4)]
        torch.testing.assert_close(block[place], torch.tensor(normalised_by_hand(point)))


def test_shares_of_the_way_are_uniform():
    """Of an embedding and a text at right angles, tan of the angle to the embedding is u / (1 − u)."""
    rows = torch.tensor([[1.0, 0.0]]).repeat(4000, 1)
    (block,) = TextInterpolations(rows, 1, rows.flip(1)).draw(torch.arange(4000), seeded())
    share = block[:, 1] / block.sum(dim=1)
    counts = torch.histc(share, bins=4, min=0, max=1)
    assert bool((counts - 1000).abs().max() < 120)


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_each_sample_of_an_image_is_a_block_of_its_own(samples):
    rows = unit(6, 4, 0)
    for control in (NoisyEmbeddings(rows, samples, 1.0), TextInterpolations(rows, samples, unit(6, 4, 1))):
        blocks = control.draw(torch.arange(6), seeded())
        assert [tuple(block.shape) for block in blocks] == [(6, 4)] * samples
        assert control.shape == (6, 4)
        assert len({tuple(row.tolist()) for block in blocks for row in block}) == 6 * samples
        for block in blocks:
            torch.testing.assert_close(block.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize("kind", [torch.float64, "meta"])
def test_samples_have_the_type_and_the_place_of_the_embeddings(kind):
    rows, text = unit(6, 4, 0).to(kind), unit(6, 4, 1).to(kind)
    generator = None if kind == "meta" else seeded()
    for control in (NoisyEmbeddings(rows, 1, 1.0), TextInterpolations(rows, 1, text)):
        (block,) = control.draw(torch.arange(3, device=rows.device), generator)
        assert (block.dtype, block.device) == (rows.dtype, rows.device)


def test_interpolations_in_double_precision_are_drawn_in_it():
    """Numbers of single precision would be multiples of 2 ** -24."""
    rows = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(50, 1)
    (block,) = NoisyEmbeddings(rows, 1, 1e-3).draw(torch.arange(50), seeded())
    expected = torch.randn(50, 2, generator=seeded(), dtype=torch.float64) * 1e-3 / 2**0.5
    torch.testing.assert_close(block, F.normalize(rows + expected), rtol=1e-14, atol=0)
    (block,) = TextInterpolations(rows, 1, rows.flip(1)).draw(torch.arange(50), seeded())
    share = torch.rand(50, 1, generator=seeded(), dtype=torch.float64)[:, 0]
    torch.testing.assert_close(block[:, 1] / block.sum(dim=1), share, rtol=1e-14, atol=0)
