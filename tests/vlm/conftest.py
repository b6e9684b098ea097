from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from tests.helpers import write_tiny_model


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """The source of a tiny CLIP with random weights."""
    return vlm.resolve(write_tiny_model(tmp_path_factory.mktemp("clip")), "", allow_random=True)


@pytest.fixture(scope="session")
def coca(tmp_path_factory):
    """The source of a tiny CoCa with random weights."""
    return vlm.resolve(write_tiny_model(tmp_path_factory.mktemp("coca"), coca=True), "", allow_random=True)


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def picture():
    levels = np.random.default_rng(0).integers(0, 256, size=(37, 50, 3), dtype=np.uint8)
    return Image.fromarray(levels)
