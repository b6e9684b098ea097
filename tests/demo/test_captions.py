from __future__ import annotations

import numpy as np
import pytest
import torch

from lare_dassl.datasets import demo_world
from lare_dassl.demo import captions
from lare_dassl.demo.rendering import COLOURS, SHAPES, STYLES


def test_a_batch_depends_on_its_step_alone():
    first, again, other = (captions.batch(step, 4) for step in (5, 5, 6))
    assert torch.equal(first.images, again.images)
    assert first.captions == again.captions
    assert not torch.equal(first.images, other.images)


def test_the_first_captions_speak_of_shapes_alone():
    first = " ".join(captions.batch(0, 64).captions).replace(".", "").split()
    assert not {*COLOURS, *STYLES} & set(first)
    later = " ".join(captions.batch(captions.SHAPES_FIRST_STEPS, 64).captions).replace(".", "").split()
    assert {*COLOURS, *STYLES} < set(later)


def test_names_are_given_at_the_promised_rates():
    rates = captions.naming_rates()
    assert max(rates.values()) == 1
    assert min(rates.values()) == pytest.approx(captions.RAREST_NAME)
    rng = np.random.default_rng(0)
    for shape, rate in rates.items():
        named = np.mean([captions.shape_word(shape, rng) == shape for _ in range(2000)])
        assert named == pytest.approx(rate * (1 - captions.WRONG_NAME), abs=0.04), shape


def test_every_shape_has_a_feature_of_its_own():
    assert list(captions.FEATURES) == list(SHAPES)
    assert len(set(captions.FEATURES.values())) == len(SHAPES)


def test_dataset_and_pretraining_render_from_other_seeds():
    assert demo_world.RENDERING_SEED != captions.PRETRAINING_SEED
