from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.methods.clip_adapter import AdapterClassifier, AdapterSettings

GENERATOR = torch.Generator().manual_seed(0)
CLASS_TEXT = F.normalize(torch.randn(3, 8, generator=GENERATOR), dim=-1)
EMBEDDING = F.normalize(torch.randn(5, 8, generator=GENERATOR), dim=-1)


def loop_logits(embedding, adapter, scale, ratio):
    """The adapter by loops over rows and dimensions."""
    logits = []
    for row in embedding.tolist():
        hidden = [
            max(0.0, sum(w * x for w, x in zip(weights, row, strict=True))) for weights in adapter.down.weight.tolist()
        ]
        adapted = [
            max(0.0, sum(w * h for w, h in zip(weights, hidden, strict=True))) for weights in adapter.up.weight.tolist()
        ]
        mixed = [ratio * a + (1 - ratio) * x for a, x in zip(adapted, row, strict=True)]
        unit = [value / math.hypot(*mixed) for value in mixed]
        logits.append([scale * sum(u * t for u, t in zip(unit, text, strict=True)) for text in CLASS_TEXT.tolist()])
    return logits


@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_logits_are_those_of_the_loop(ratio):
    adapter = AdapterClassifier(CLASS_TEXT, 50.0, hidden_dim=2, ratio=ratio)
    generator = torch.Generator().manual_seed(1)
    # With random weights a row may come out as all zeros, which has no direction: here one of two hidden units is not.
    weight = torch.rand(1, 8, generator=generator)
    adapter.down.weight.data = torch.cat([weight, -weight])
    torch.nn.init.uniform_(adapter.up.weight, 0.1, 1.0, generator=generator)
    expected = loop_logits(EMBEDDING, adapter, 50.0, ratio)
    torch.testing.assert_close(adapter(EMBEDDING), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(adapter.adapt(EMBEDDING).norm(dim=-1), torch.ones(5))


def test_only_the_adapter_is_trained():
    adapter = AdapterClassifier(CLASS_TEXT, 50.0, hidden_dim=2, ratio=0.2)
    assert {name: tuple(weight.shape) for name, weight in adapter.named_parameters()} == {
        "down.weight": (2, 8),
        "up.weight": (8, 2),
    }


def test_it_is_rebuilt_from_its_state_alone():
    adapter = AdapterClassifier(CLASS_TEXT, 37.5, hidden_dim=2, ratio=0.3)
    again = AdapterClassifier.from_state(adapter.state_dict())
    assert torch.equal(again(EMBEDDING), adapter(EMBEDDING))
    assert again.kind == "clip_adapter"


def test_the_ends_of_the_range_are_settings():
    assert AdapterSettings(ratio=0.0, reduction=1) == AdapterSettings(0.0, 1)
    assert AdapterSettings(ratio=1.0).ratio == 1.0
