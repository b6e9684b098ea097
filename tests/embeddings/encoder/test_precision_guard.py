from __future__ import annotations

import logging

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.errors import InputError
from tests.embeddings.encoder.conftest import spoiling


class Comparison:
    """Stands for the comparison with fp32: `agrees` is its verdict, `batches` the shapes of what it was asked."""

    def __init__(self):
        self.agrees = True
        self.batches = []

    def __call__(self, low, source, pixels):
        self.batches.append(tuple(pixels.shape))
        return self.agrees


@pytest.fixture
def comparison(monkeypatch):
    """bf16 is native here."""
    comparison = Comparison()
    monkeypatch.setattr(vlm, "resolve_precision", lambda asked, _: "bf16" if asked == "auto" else asked)
    monkeypatch.setattr(vlm, "low_precision_agrees", comparison)
    return comparison


def test_auto_takes_bf16_where_it_agrees_and_asks_once(make, images, comparison):
    encoder = make("auto")
    encoder.encode_images(images[:6])
    assert encoder.precision == "bf16"
    make("auto").encode_images(images)
    assert comparison.batches == [(4, 32, 32, 3)]


def test_auto_falls_back_to_fp32_where_bf16_does_not_agree(make, images, comparison, decoded, caplog):
    comparison.agrees = False
    encoder = make("auto")
    with caplog.at_level(logging.WARNING):
        first, report = encoder.encode_images(images)
    assert encoder.precision == "fp32"
    assert "encoding in fp32" in caplog.text
    assert report.decoded == 10

    decoded.clear()
    second = make("auto")
    assert second.precision == "fp32"
    assert torch.equal(second.encode_images(images)[0], first)
    assert torch.equal(make("fp32").encode_images(images)[0], first)
    assert decoded == []
    assert len(comparison.batches) == 1


def test_a_precision_that_was_named_is_taken_unasked(make, images, comparison):
    comparison.agrees = False
    encoder = make("bf16")
    encoder.encode_images(images)
    assert encoder.precision == "bf16"
    assert comparison.batches == []


def test_the_guard_looks_past_unreadable_images(make, images, comparison):
    for path in images[:5]:
        path.write_bytes(path.name.encode())
    with pytest.raises(InputError, match="5 of 10"):
        make("auto").encode_images(images)
    assert comparison.batches == [(3, 32, 32, 3)]


def test_auto_asks_though_an_explicit_bf16_run_has_filled_the_cache(make, images, comparison):
    make("bf16").encode_images(images)
    comparison.agrees = False
    encoder = make("auto")
    encoder.encode_images(images)
    assert len(comparison.batches) == 1
    assert encoder.precision == "fp32"


@pytest.mark.usefixtures("comparison")
@pytest.mark.parametrize("given", [("auto", "nan"), ("bf16", "inf"), ("fp16", "nan")])
def test_nan_in_low_precision_sends_all_images_to_fp32(make, model, images, caplog, given):
    precision, value = given
    encoder = make(precision)
    low, name = encoder.store.folder, encoder.precision
    encoder.model = spoiling(model, images[9], float(value))
    with caplog.at_level(logging.WARNING):
        embedding, report = encoder.encode_images(images)
    assert caplog.messages == [f"{name} gives NaN or infinity for {images[9]}: encoding all images in fp32"]
    assert encoder.precision == encoder.identity().precision == "fp32"
    assert encoder.store.folder != low
    assert report.decoded == 10
    assert torch.equal(embedding, make("fp32").encode_images(images)[0])
    caplog.clear()
    again = make(precision)
    assert caplog.messages == [f"{name} has given NaN or infinity before: encoding in fp32"]
    assert again.encode_images(images)[1].decoded == 0


def test_nan_in_fp32_names_the_image_and_keeps_those_before(make, model, images):
    encoder = make()
    encoder.model = spoiling(model, images[6])
    with pytest.raises(InputError, match=rf"gives NaN or infinity for {images[6]} in fp32: check its weights"):
        encoder.encode_images(images)
    assert make().encode_images(images)[1].decoded == 6
