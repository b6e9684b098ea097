from __future__ import annotations

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.vlm import frozen

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4])
def _threads(request):
    torch.set_num_threads(request.param)


@pytest.fixture(params=["fp32", "bf16"])
def demo_model(request):
    return vlm.load(vlm.resolve("demo", ""), request.param, CPU)


@pytest.mark.usefixtures("_threads")
def test_an_embedding_is_the_same_to_the_bit_in_any_batch(demo_model, picture):
    shape = demo_model.preprocess(picture).shape
    pixels = torch.randn(19, *shape, generator=torch.Generator().manual_seed(0))
    together = demo_model.encode_images(pixels)
    one_and_more = [demo_model.encode_images(part) for part in (pixels[:1], pixels[1:])]
    assert torch.equal(torch.cat(one_and_more), together)
    for rows in (2, 3, 7, 8, 9, 10, 11, 17):
        assert torch.equal(torch.cat([demo_model.encode_images(part) for part in pixels.split(rows)]), together)


@pytest.mark.usefixtures("_threads")
def test_a_text_is_the_same_to_the_bit_beside_any_others(demo_model, monkeypatch):
    texts = [f"a {style} of a {name}." for style in ("photo", "sketch") for name in ("red star", "blue ring", "moon")]
    together = demo_model.encode_texts(texts)
    assert together.shape == (6, demo_model.encode_texts(["a"]).shape[1])
    for rows in (1, 2, 4, 5):
        parts = [texts[place : place + rows] for place in range(0, len(texts), rows)]
        assert torch.equal(torch.cat([demo_model.encode_texts(part) for part in parts]), together)
    assert torch.equal(demo_model.encode_texts(texts[::-1] * 3)[:6], together.flip(0))
    monkeypatch.setattr(frozen, "TEXT_BATCH", 4)
    torch.testing.assert_close(demo_model.encode_texts(texts), together, atol=1e-3, rtol=0)
