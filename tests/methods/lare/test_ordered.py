from __future__ import annotations

import torch

from lare_dassl.methods.lare.ordered import ordered


def pair(shape=(7, 5), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2))


def test_each_pair_is_ordered_and_gradients_follow_it():
    first, second = pair()
    weights = torch.arange(70.0, dtype=torch.float64).view(2, 7, 5)
    smaller, larger = ordered(first, second)
    assert torch.equal(smaller, torch.minimum(first, second))
    assert torch.equal(larger, torch.maximum(first, second))
    found = torch.autograd.grad((smaller * weights[0] + larger * weights[1]).sum(), (first, second))
    is_first = first < second
    assert torch.equal(found[0], torch.where(is_first, weights[0], weights[1]))
    assert torch.equal(found[1], torch.where(is_first, weights[1], weights[0]))
    assert torch.autograd.gradcheck(ordered, (first, second))


def test_of_equal_elements_the_first_is_the_smaller():
    one = torch.ones(3, requires_grad=True)
    smaller, larger = ordered(one, torch.ones(3))
    (found,) = torch.autograd.grad((2 * smaller + 5 * larger).sum(), one)
    assert found.tolist() == [2, 2, 2]


def test_it_works_on_stacked_tensors():
    first, second = pair((3, 4, 2), torch.float32)
    smaller, larger = torch.vmap(ordered)(first, second)
    assert torch.equal(smaller, torch.minimum(first, second))
    found = torch.autograd.grad(smaller.sum() + 3 * larger.sum(), (first, second))
    assert torch.equal(found[0], torch.where(first < second, 1.0, 3.0))
    assert torch.equal(found[1], torch.where(first < second, 3.0, 1.0))
