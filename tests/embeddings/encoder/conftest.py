from __future__ import annotations

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.embeddings.encoder import encoder as encoding
from lare_dassl.embeddings.encoder.decoding import decode_image
from lare_dassl.embeddings.encoder.encoder import Encoder
from tests.helpers import write_image, write_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A tiny CLIP with random weights."""
    return vlm.resolve(write_tiny_model(tmp_path_factory.mktemp("models") / "clip"), "", allow_random=True)


@pytest.fixture(scope="session")
def model(source):
    return vlm.load(source, "fp32", CPU)


@pytest.fixture
def images(tmp_path):
    return [write_image(tmp_path / "images" / f"{number}.png", seed=number) for number in range(10)]


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images decoded, in order; counts those of this process alone."""
    names = []

    def recorded(path, preprocess):
        names.append(path.name)
        return decode_image(path, preprocess)

    monkeypatch.setattr(encoding, "decode_image", recorded)
    return names


@pytest.fixture
def make(source, model, tmp_path, monkeypatch):
    """`make(precision, batch_size, ...)`: an encoder; loading gives the one model in whatever precision."""
    monkeypatch.setattr(vlm, "load", lambda *_: model)
    (tmp_path / "cache").mkdir()

    def encoder(precision="fp32", batch_size=4, **settings):
        return Encoder(source, precision, CPU, tmp_path / "cache", batch_size=batch_size, **settings)

    return encoder


class Stub:
    """The model with other ways of encoding."""

    def __init__(self, model, images=None, texts=None):
        self.parts = model.parts
        self.logit_scale = model.logit_scale
        self.encode_images = images or model.encode_images
        self.encode_texts = texts or model.encode_texts


class SmallDevice:
    """An encoder with memory for so many images, and the sizes of the calls that it took."""

    def __init__(self, images, encode):
        self.images = images
        self.encode = encode
        self.calls = []

    def __call__(self, pixels):
        if len(pixels) > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.calls.append(len(pixels))
        return self.encode(pixels)


def encode_by_hand(model, paths):
    return torch.cat([model.encode_images(decode_image(path, model.preprocess)[None]) for path in paths])


def spoiling(model, path, value=float("nan")):
    """The model, but for the image of a file, which it encodes as `value`."""
    spoilt = decode_image(path, model.parts.resize)

    def encode(pixels):
        embedding = model.encode_images(pixels).clone()
        embedding[(pixels == spoilt).flatten(1).all(dim=1)] = value
        return embedding

    return Stub(model, encode)
