from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.errors import InputError
from tests.embeddings.encoder.conftest import spoiling


@pytest.fixture
def comparison(monkeypatch):
    """`agrees` is the verdict of the comparison with fp32, `batches` the shapes that it was made on; bf16 is native."""
    made = SimpleNamespace(agrees=True, batches=[])

    def compare(low, source, pixels):
        made.batches.append(tuple(pixels.shape))
        return made.agrees

    monkeypatch.setattr(vlm, "resolve_precision", lambda asked, _: "bf16" if asked == "auto" else asked)
    monkeypatch.setattr(vlm, "low_precision_agrees", compare)
    return made


@pytest.mark.parametrize("agrees", [True, False])
def test_auto_takes_bf16_only_where_it_agrees_and_asks_once(make, images, comparison, caplog, agrees):
    comparison.agrees, precision = agrees, "bf16" if agrees else "fp32"
    encoder = make("auto")
    first, _ = encoder.encode_images(images)
    assert encoder.precision == precision
    assert ("encoding in fp32" in caplog.text) == (not agrees)
    for again in (make("auto"), make(precision)):
        embedding, report = again.encode_images(images)
        assert (again.precision, report.decoded) == (precision, 0)
        assert torch.equal(embedding, first)
    assert comparison.batches == [(4, 32, 32, 3)]


def test_the_guard_looks_past_unreadable_images(make, images, comparison):
    for path in images[:5]:
        path.write_bytes(path.name.encode())
    with pytest.raises(InputError, match="5 of 10"):
        make("auto").encode_images(images)
    assert comparison.batches == [(3, 32, 32, 3)]


def test_auto_asks_though_a_named_bf16_has_filled_the_cache(make, images, comparison):
    comparison.agrees = False
    named, auto = make("bf16"), make("auto")
    named.encode_images(images)
    assert (named.precision, comparison.batches) == ("bf16", [])
    auto.encode_images(images)
    assert (auto.precision, len(comparison.batches)) == ("fp32", 1)


@pytest.mark.usefixtures("comparison")
@pytest.mark.parametrize("given", [("auto", "nan"), ("bf16", "inf"), ("fp16", "nan")])
def test_nan_in_low_precision_sends_all_images_to_fp32(make, model, images, caplog, given):
    caplog.set_level(logging.WARNING, "lare_dassl")
    precision, value = given
    encoder = make(precision)
    low, name = encoder.store.folder, encoder.precision
    encoder.model = spoiling(model, images[9], float(value))
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
