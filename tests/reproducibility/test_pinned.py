"""The table of a small demo world is the one that was accepted last: exactly, on the kind of machine that made it."""

from __future__ import annotations

import json

import pytest

from tests.reproducibility.pinned import PINNED, flat, made_with, measured

# Two of the 90 test images of a domain. Encoding in bf16 instead of fp32, which is far more than what another processor
# changes, moves one image of a domain; noise of 1e-4 on each embedding moves none.
TOLERANCE = 2.5


def test_the_figures_of_a_small_demo_world_are_the_pinned_ones(tmp_path):
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    found, expected = flat(measured(tmp_path)), flat(pinned["metrics"])
    same_kind = pinned["made_with"] == made_with()
    assert found == (expected if same_kind else pytest.approx(expected, abs=TOLERANCE))
