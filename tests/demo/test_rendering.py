"""The renderer: every name draws, seeds decide the pixels, shapes and colours can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from lare_dassl.demo.rendering import COLOURS, FAMILIES, IMAGE_SIZE, SHAPES, STYLES, render


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_draws_in_every_style(shape: str, style: str) -> None:
    image = render(shape, "green", style, np.random.default_rng(3))
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5


@pytest.mark.parametrize("style", STYLES)
def test_the_seed_decides_the_pixels(style: str) -> None:
    first, again, other = (render("star", "red", style, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.02


def test_the_generator_is_advanced() -> None:
    rng = np.random.default_rng(0)
    assert (render("ring", "blue", "clipart", rng) != render("ring", "blue", "clipart", rng)).any()


@pytest.mark.parametrize("style", ["photo", "clipart", "pixel"])
@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_the_middle_of_a_filled_shape_has_its_colour(style: str, colour: str, channel: int) -> None:
    pictures = [render("square", colour, style, np.random.default_rng(seed)) for seed in range(8)]
    middle = np.mean([picture[18:22, 18:22].mean(axis=(0, 1)) for picture in pictures], axis=0)
    assert middle.argmax() == channel


def test_a_ring_shows_the_ground_through_its_hole() -> None:
    def difference(shape: str) -> float:
        image = render(shape, "blue", "clipart", np.random.default_rng(5)).astype(float)
        return float(np.abs(image[19:21, 19:21].mean(axis=(0, 1)) - image[0, 0]).mean())

    assert difference("ring") < 20
    assert difference("circle") > 60


def test_outlines_stay_within_the_unit_square() -> None:
    for name, outlines in SHAPES.items():
        assert np.abs(outlines[0]).max() <= 1.01, name


def test_tables_are_complete() -> None:
    assert len(SHAPES) == sum(len(family) for family in FAMILIES.values()) == 24
    assert list(STYLES) == ["photo", "painting", "sketch", "clipart", "neon", "pixel"]
    assert len(COLOURS) == 5


@pytest.mark.parametrize("scene", [("blob", "red", "photo"), ("star", "pink", "photo"), ("star", "red", "film")])
def test_an_unknown_name_is_refused(scene: tuple[str, str, str]) -> None:
    with pytest.raises(KeyError):
        render(*scene, np.random.default_rng(0))
