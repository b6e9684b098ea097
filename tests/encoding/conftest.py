"""What the tests of encoding share."""

from __future__ import annotations

import pytest

from tests.helpers import make_cfg, write_tiny_model


@pytest.fixture
def tiny_cfg(tmp_path):
    """`tiny_cfg(**keys)` gives a configuration with a tiny random model and a cache, in the folder of the test."""
    model = {"MODEL__BACKBONE__NAME": write_tiny_model(tmp_path / "clip"), "VLM__ALLOW_RANDOM": True}
    encoding = {"VLM__PRECISION": "fp32", "EMBEDDINGS__CACHE_DIR": tmp_path / "cache"}
    return lambda **keys: make_cfg(**model, **encoding, **keys)
