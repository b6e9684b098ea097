from __future__ import annotations

import re
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.embeddings.loaders import MixedLoader, RowLoader
from lare_dassl.errors import InputError
from lare_dassl.methods.lare.regions import RegionalSamples, Regions
from lare_dassl.methods.shared.augmentation import MovedEmbeddings

ROWS, WIDTH = 10, 6


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    embedding = F.normalize(torch.randn(ROWS, WIDTH, generator=generator), dim=-1)
    # Labels tell the rows apart, so that a batch shows which ones it holds.
    return LabelledEmbeddings(embedding, torch.arange(ROWS), 100 + torch.arange(ROWS) % 3)


@pytest.fixture
def regions(rows):
    return Regions(rows.embedding - 0.05, rows.embedding + 0.05)


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_a_batch_is_real_rows_and_then_blocks_of_their_samples(rows, regions, samples):
    for batch in MixedLoader(rows, 4, seed=1, augmentation=RegionalSamples(regions, samples)):
        real = len(batch) // (1 + samples)
        assert batch.sampled.tolist() == [False] * real + [True] * real * samples
        assert batch.label.tolist() == batch.label[:real].tolist() * (1 + samples)
        assert torch.equal(batch.domain, 100 + batch.label % 3)
        changed = (batch.embedding != rows.embedding[batch.label]).any(dim=1)
        assert torch.equal(changed, batch.sampled)


def test_samples_lie_within_their_regions_before_scaling(rows):
    # In a box whose first coordinate is fixed at 2, scaling a sample back to it gives the point that was drawn.
    lower, upper = torch.full((ROWS, WIDTH), -1.0), torch.arange(ROWS)[:, None].repeat(1, WIDTH) / 10.0
    lower[:, 0] = upper[:, 0] = 2.0
    for batch in MixedLoader(rows, 4, seed=1, augmentation=RegionalSamples(Regions(lower, upper), 5)):
        samples, label = batch.embedding[batch.sampled], batch.label[batch.sampled]
        torch.testing.assert_close(samples.norm(dim=-1), torch.ones(len(samples)))
        points = samples * (2.0 / samples[:, :1])
        assert (points >= lower[label] - 1e-5).all()
        assert (points <= upper[label] + 1e-5).all()


def test_moved_embeddings_follow_their_real_rows(rows):
    moved = torch.stack([rows.embedding + 1, rows.embedding + 2])
    for batch in MixedLoader(rows, 4, seed=1, augmentation=MovedEmbeddings(moved)):
        real = len(batch) // 3
        expected = torch.cat([rows.embedding[batch.label[:real]] + shift for shift in (0, 1, 2)])
        assert torch.equal(batch.embedding, expected)
        assert batch.label.tolist() == batch.label[:real].tolist() * 3
        assert batch.sampled.tolist() == [False] * real + [True] * 2 * real


def test_added_embeddings_leave_the_first_batchs_real_rows_alone(rows, regions):
    moved = MovedEmbeddings(rows.embedding[None])
    for augmentation in (moved, RegionalSamples(regions, 2)):
        plain, mixed = (next(iter(MixedLoader(rows, 4, seed=1, augmentation=added))) for added in (None, augmentation))
        assert torch.equal(mixed.embedding[:4], plain.embedding)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (64, [10]), (1, [1] * 10)])
def test_every_row_comes_once_an_epoch(rows, batch_size, sizes):
    loader = MixedLoader(rows, batch_size, seed=1)
    batches = list(loader)
    assert len(loader) == len(sizes)
    assert [len(batch) for batch in batches] == sizes
    assert sorted(torch.cat([batch.label for batch in batches]).tolist()) == list(range(ROWS))


def test_order_and_samples_are_fresh_every_epoch_and_seed(rows, regions):
    orders, samples = set(), []
    for seed in (0, 1, 2):
        loader = MixedLoader(rows, ROWS, seed=seed, augmentation=RegionalSamples(regions, 1))
        for epoch in (0, 1, 2):
            loader.set_epoch(epoch)
            (batch,) = loader
            orders.add(tuple(batch.label[:ROWS].tolist()))
            samples.append(batch.embedding[ROWS:][batch.label[ROWS:].argsort()])
    assert len(orders) == 9
    assert all((one - other).abs().max() > 0.01 for one, other in combinations(samples, 2))


def test_an_epoch_is_the_same_whatever_came_before(rows, regions):
    """Also the global random state, which stays as it is."""
    loader, fresh = (MixedLoader(rows, 4, seed=1, augmentation=RegionalSamples(regions, 2)) for _ in range(2))
    before = torch.get_rng_state()
    loader.set_epoch(0)
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)
    loader.set_epoch(3)
    next(iter(loader))
    torch.manual_seed(99)
    fresh.set_epoch(3)
    for one, other in zip(loader, fresh, strict=True):
        for name in ("embedding", "label", "domain", "sampled"):
            assert torch.equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "the batch size must be at least 1, not 0"),
        ({"augmentation": RegionalSamples(Regions(torch.zeros(9, 6), torch.ones(9, 6)))}, "(9, 6), not (10, 6)"),
        ({"augmentation": MovedEmbeddings(torch.zeros(2, 10, 5))}, "(10, 5), not (10, 6)"),
    ],
)
def test_settings_that_cannot_be_met_are_told(rows, settings, message):
    if "augmentation" in settings:
        message = f"the augmentation is for embeddings of shape {message}"
    with pytest.raises(InputError, match=re.escape(message)):
        MixedLoader(rows, **{"batch_size": 4, "seed": 1} | settings)


@pytest.mark.parametrize(("batch_size", "batches"), [(3, 4), (5, 2), (10, 1), (4096, 1)])
def test_a_row_loader_gives_all_rows_in_their_order(rows, batch_size, batches):
    loader = RowLoader(rows, batch_size)
    parts = list(loader)
    assert len(loader) == len(parts) == batches
    for name in ("embedding", "label", "domain"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(rows, name))
    assert not any(part.sampled.any() for part in parts)


@pytest.mark.parametrize("offset", [1, 2, 4, 15])
def test_rows_at_any_address_give_the_same_products(offset):
    generator = torch.Generator().manual_seed(0)
    size, weight = (14, 32), torch.randn(2, 32, generator=generator)
    embedding = F.normalize(torch.randn(size, generator=generator), dim=-1)
    moved = torch.empty(embedding.numel() + offset)[offset:].view(size).copy_(embedding)
    labels = torch.zeros(14, dtype=torch.int64)
    first, second = (next(iter(RowLoader(LabelledEmbeddings(x, labels, labels)))) for x in (embedding, moved))
    assert torch.equal(F.linear(first.embedding, weight), F.linear(second.embedding, weight))
