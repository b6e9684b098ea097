from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.methods import tip_adapter
from lare_dassl.methods.tip_adapter import CacheClassifier, cache_classifier, choose_strengths


def unit(rows, width, seed):
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


LABEL = torch.tensor([0, 1, 2, 0, 0, 0, 2])


def cache_of(alpha, beta):
    """Seven keys of three classes, width 5; class 0 has four of them."""
    return cache_classifier(unit(7, 5, 0), LABEL, unit(3, 5, 1), logit_scale=20.0, alpha=alpha, beta=beta)


@pytest.fixture
def classifier():
    return cache_of(alpha=1.5, beta=3.0)


def logit_by_hand(row, target, keys, labels, text, *, scale, alpha, beta):
    """One logit, summed key by key."""
    total = scale * sum(float(x) * float(t) for x, t in zip(row, text[target], strict=True))
    for key, label in zip(keys, labels, strict=True):
        if label == target:
            cosine = sum(float(x) * float(k) for x, k in zip(row, key, strict=True))
            total += alpha * math.exp(-beta * (1 - cosine))
    return total


@pytest.mark.parametrize("chunk", [2, 512])
def test_logits_are_the_papers_key_by_key(classifier, chunk, monkeypatch):
    monkeypatch.setattr(tip_adapter, "CHUNK", chunk)
    rows, keys, text = unit(5, 5, 2), unit(7, 5, 0), unit(3, 5, 1)
    strengths = {"scale": 20.0, "alpha": 1.5, "beta": 3.0}
    expected = [[logit_by_hand(row, c, keys, LABEL, text, **strengths) for c in range(3)] for row in rows]
    torch.testing.assert_close(classifier(rows), torch.tensor(expected))


def test_the_keys_alone_are_trained(classifier):
    assert [name for name, _ in classifier.named_parameters()] == ["keys"]
    classifier(unit(4, 5, 2)).sum().backward()
    assert classifier.keys.grad.abs().sum() > 0


def test_training_leaves_the_embeddings_as_they_are():
    embedding = unit(4, 5, 0)
    classifier = cache_classifier(embedding, torch.tensor([0, 1, 2, 0]), unit(3, 5, 1), 20.0)
    with torch.no_grad():
        classifier.keys.zero_()
    assert torch.equal(embedding, unit(4, 5, 0))


def test_a_state_dict_is_all_that_it_takes(classifier):
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    again = CacheClassifier.from_state(state)
    assert torch.equal(again(unit(4, 5, 2)), classifier(unit(4, 5, 2)))
    assert (CacheClassifier.kind, float(again.alpha), float(again.beta)) == ("tip_adapter", 1.5, 3.0)


def test_a_cache_of_other_shots_is_taken_in(classifier):
    other = cache_classifier(unit(2, 5, 8), torch.tensor([0, 1]), unit(3, 5, 1), 20.0)
    other.load_state_dict(classifier.state_dict())
    assert torch.equal(other(unit(4, 5, 2)), classifier(unit(4, 5, 2)))


@pytest.mark.parametrize(("width", "classes"), [(6, 3), (5, 4)])
def test_a_cache_of_another_width_or_other_classes_is_refused(classifier, width, classes):
    other = cache_classifier(unit(7, width, 8), torch.tensor([0] * 7), unit(classes, width, 1), 20.0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(classifier.state_dict())


def test_the_chosen_strengths_are_the_best_of_the_grid(classifier):
    rows, label = unit(40, 5, 3), torch.randint(3, (40,), generator=torch.Generator().manual_seed(4))
    alphas, betas = (0.5, 4.0, 30.0), (0.5, 8.0)
    correct = {}
    for alpha in alphas:
        for beta in betas:
            correct[alpha, beta] = int((cache_of(alpha, beta)(rows).argmax(dim=1) == label).sum())
    best = [pair for pair, score in correct.items() if score == max(correct.values())]
    assert len(set(correct.values())) > 1
    assert choose_strengths(classifier, rows, label, alphas, betas) == min(best)
    assert (float(classifier.alpha), float(classifier.beta)) == (1.5, 3.0)


def test_of_equally_good_strengths_the_least_are_chosen(classifier):
    """A row that lies on its class text and on its key is right whatever the strengths."""
    text = torch.eye(3)
    sure = cache_classifier(text, torch.arange(3), text, 20.0)
    assert choose_strengths(sure, text, torch.arange(3), (9.0, 2.0, 5.0), (7.0, 3.0)) == (2.0, 3.0)


def test_strengths_are_replaced_in_place(classifier):
    classifier.set_strengths(7.0, 0.5)
    assert torch.equal(classifier(unit(4, 5, 2)), cache_of(7.0, 0.5)(unit(4, 5, 2)))


def test_a_state_without_a_cache_is_refused_by_names(classifier):
    state = {name: value for name, value in classifier.state_dict().items() if name not in ("keys", "values")}
    with pytest.raises(RuntimeError, match=r'Missing key.*"keys", "values"'):
        classifier.load_state_dict(state)


def test_the_strengths_lie_where_the_keys_do():
    keys = unit(4, 5, 0).to("meta")
    classifier = CacheClassifier(keys, keys[:, :3], keys[:3])
    assert {value.device.type for value in classifier.state_dict().values()} == {"meta"}


def test_a_right_row_counts_for_its_own_class_alone():
    """Flattened logits would find the first row's class for all of them."""
    text = torch.eye(3)
    cache = cache_classifier(torch.tensor([[0.6, 0.8, 0.0]]), torch.tensor([1]), text, 1.0)
    rows, label = torch.tensor([[0.0, 0.0, 1.0], [0.8, 0.6, 0.0]]), torch.tensor([2, 1])
    assert choose_strengths(cache, rows, label, (0.125, 4.0), (8.0,)) == (4.0, 8.0)
