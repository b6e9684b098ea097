"""Renderings of the demo world: one coloured shape per image, drawn in one of six styles.

Numpy and Pillow only. The same generator state gives the same pixels, so a seed names a set of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.floating[Any]]
Style = Callable[[Array, Array, np.random.Generator], Array]

IMAGE_SIZE = 40
"""Width and height of a rendering, in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 40, 40),
    "orange": (240, 140, 40),
    "yellow": (230, 210, 50),
    "green": (50, 160, 60),
    "blue": (50, 80, 210),
}
"""Colour names and their mean RGB values."""


def _regular(corners: int, turn: float = 0.0, inner: float | None = None) -> Array:
    """A regular polygon of radius 1, or with `inner` a star whose notches lie at that radius; shape (points, 2)."""
    count = corners if inner is None else 2 * corners
    angles = 2 * math.pi * np.arange(count) / count + (turn - 0.25) * 2 * math.pi
    radii = np.where(np.arange(count) % 2, 1.0 if inner is None else inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).astype(np.float32)


def _points(*pairs: tuple[float, float]) -> Array:
    """The outline through the given (x, y) pairs; x runs right and y down, within -1 and 1."""
    return np.array(pairs, dtype=np.float32)


def _scaled(outline: Array, width: float, height: float, right: float = 0.0, down: float = 0.0) -> Array:
    """An outline stretched and then moved."""
    return outline * np.array([width, height], np.float32) + np.array([right, down], np.float32)


def _heart() -> Array:
    t = np.linspace(0, 2 * math.pi, 40, dtype=np.float32)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 17


def _drop() -> Array:
    t = np.linspace(-0.5, math.pi + 0.5, 24, dtype=np.float32)
    belly = np.stack([0.65 * np.cos(t), 0.35 + 0.65 * np.sin(t)], axis=1)
    return np.concatenate([_points((0, -1)), belly])


def _gear() -> Array:
    teeth = 2 * math.pi * np.arange(32, dtype=np.float32) / 32
    radii = np.where(np.arange(32) % 4 < 2, 1.0, 0.72)
    return np.stack([radii * np.cos(teeth), radii * np.sin(teeth)], axis=1)


_DISC = _regular(40)
_W = 0.36

FAMILIES: dict[str, dict[str, tuple[Array, ...]]] = {
    "polygon": {
        "triangle": (_regular(3),),
        "square": (_regular(4, turn=0.125),),
        "diamond": (_scaled(_regular(4), 0.62, 1.0),),
        "pentagon": (_regular(5),),
        "hexagon": (_regular(6),),
        "trapezoid": (_points((-0.5, -0.65), (0.5, -0.65), (1, 0.65), (-1, 0.65)),),
    },
    "round thing": {
        "circle": (_scaled(_DISC, 0.95, 0.95),),
        "ring": (_DISC, _scaled(_DISC, 0.55, 0.55)),
        "oval": (_scaled(_DISC, 0.66, 1.0),),
        "moon": (_DISC, _scaled(_DISC, 0.95, 0.95, right=0.5, down=-0.15)),
        "drop": (_drop(),),
        "heart": (_heart(),),
    },
    "spiky thing": {
        "star": (_regular(5, inner=0.42),),
        "spark": (_regular(4, inner=0.34),),
        "burst": (_regular(9, inner=0.6),),
        "gear": (_gear(),),
        "crown": (_points((-1, 0.7), (-1, -0.6), (-0.5, 0.1), (0, -0.8), (0.5, 0.1), (1, -0.6), (1, 0.7)),),
        "bolt": (_points((0.3, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.2), (0.05, -0.2)),),
    },
    "sign": {
        "cross": (
            _points(
                (-_W, -1), (_W, -1), (_W, -_W), (1, -_W), (1, _W), (_W, _W),
                (_W, 1), (-_W, 1), (-_W, _W), (-1, _W), (-1, -_W), (-_W, -_W),
            ),
        ),
        "arrow": (_points((-1, -0.3), (0, -0.3), (0, -0.8), (1, 0), (0, 0.8), (0, 0.3), (-1, 0.3)),),
        "bar": (_points((-1, -0.32), (1, -0.32), (1, 0.32), (-1, 0.32)),),
        "chevron": (_points((-0.8, -0.9), (-0.1, -0.9), (0.8, 0), (-0.1, 0.9), (-0.8, 0.9), (0.1, 0)),),
        "house": (_points((-0.8, 0.9), (-0.8, -0.1), (0, -1), (0.8, -0.1), (0.8, 0.9)),),
        "hourglass": (_points((-0.75, -0.95), (0.75, -0.95), (0.15, 0), (0.75, 0.95), (-0.75, 0.95), (-0.15, 0)),),
    },
}  # fmt: skip
"""Shapes by family: the first outline of a shape is filled, the others are cut out of it."""

SHAPES: dict[str, tuple[Array, ...]] = {
    name: outlines for family in FAMILIES.values() for name, outlines in family.items()
}
"""All shapes by name."""


def _mask(outlines: tuple[Array, ...], rng: np.random.Generator) -> Array:
    """The shape at a random place, size, tilt and aspect: coverage from 0 to 1, shape (IMAGE_SIZE, IMAGE_SIZE, 1)."""
    size = 2 * IMAGE_SIZE
    radius, aspect, tilt = rng.uniform(0.25, 0.40), rng.uniform(0.88, 1.14), rng.uniform(-0.3, 0.3)
    turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]], np.float32)
    centre = size * rng.uniform(0.41, 0.59, 2)
    canvas = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(canvas)
    for index, outline in enumerate(outlines):
        placed = (outline * np.array([aspect, 1 / aspect], np.float32)) @ turn * (size * radius) + centre
        draw.polygon(placed.ravel().tolist(), fill=0 if index else 255)
    return np.asarray(canvas.reduce(2), np.float32)[..., None] / 255


def _noise(rng: np.random.Generator, grain: int) -> Array:
    """Smooth noise of unit variance with blobs of about `grain` pixels, shape (IMAGE_SIZE, IMAGE_SIZE, 1)."""
    cells = IMAGE_SIZE // grain
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(coarse.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))[..., None]


def _blurred(image: Array, radius: float) -> Array:
    """An RGB array (S, S, 3) with values from 0 to 255, blurred."""
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _edges(mask: Array, strength: float) -> Array:
    """The outline of a mask: 0 to 1, same shape."""
    down, right = np.gradient(mask[..., 0])
    return np.clip((np.abs(down) + np.abs(right)) * strength, 0, 1)[..., None]


def _flat(rng: np.random.Generator, low: float, high: float) -> Array:
    """One random RGB colour, shape (3,)."""
    return rng.uniform(low, high, 3).astype(np.float32)


_ROWS, _COLUMNS = np.mgrid[0:IMAGE_SIZE, 0:IMAGE_SIZE].astype(np.float32)[..., None]


def _photo(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """Uneven light, a shadow, a mottled ground, sensor noise and a little blur."""
    angle = rng.uniform(0, 2 * math.pi)
    light = 0.75 + 0.5 * (_COLUMNS * math.cos(angle) + _ROWS * math.sin(angle)) / IMAGE_SIZE
    ground = (_flat(rng, 60, 190) + 18 * _noise(rng, 8)) * (1 - 0.35 * np.roll(mask, (2, 2), (0, 1)))
    image = ground * (1 - mask) + colour * light * mask
    image = image + 7 * rng.standard_normal(image.shape, np.float32)
    return _blurred(image, rng.uniform(0.2, 0.8))


def _painting(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """Pale ground, ragged outline and coarse strokes in few tones."""
    ground = _flat(rng, 150, 230) + 22 * _noise(rng, 3)
    ragged = np.clip(mask + 0.25 * _noise(rng, 4) * ((mask > 0.05) & (mask < 0.95)), 0, 1)
    image = ground * (1 - ragged) + (0.8 * colour + 40 + 26 * _noise(rng, 2)) * ragged
    return np.round(_blurred(image, 0.6) / 32) * 32


def _sketch(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """A coloured pencil line on paper, hatched inside."""
    line = _edges(mask, 2.2)
    hatch = 0.35 * mask * ((_COLUMNS + _ROWS) % 4 == 0)
    image = (245 - line * (245 - 0.7 * colour)) * (1 - hatch) + colour * hatch
    return image + 4 * rng.standard_normal(image.shape, np.float32)


def _clipart(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """Flat colours and a black outline."""
    return (_flat(rng, 200, 255) * (1 - mask) + colour * mask) * (1 - _edges(mask, 2.0))


def _neon(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """A glowing tube along the outline, in the dark."""
    tube = _edges(mask, 2.0)
    glow = _blurred(np.repeat(255 * tube, 3, axis=2), rng.uniform(1.5, 2.5)) / 255
    return 15 + (0.9 * tube + 1.2 * glow) * np.maximum(colour, 60)


def _pixel(mask: Array, colour: Array, rng: np.random.Generator) -> Array:
    """Large pixels on a dark ground."""
    image = _flat(rng, 30, 120) * (1 - mask) + colour * mask
    small = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((13, 13), Image.Resampling.BOX)
    return np.asarray(small.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.NEAREST), np.float32)


STYLES: dict[str, Style] = {
    "photo": _photo,
    "painting": _painting,
    "sketch": _sketch,
    "clipart": _clipart,
    "neon": _neon,
    "pixel": _pixel,
}
"""Styles by name: the domains of the demo world."""


def render(shape: str, colour: str, style: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one image: RGB pixels, shape (IMAGE_SIZE, IMAGE_SIZE, 3).

    The generator gives place, size, tilt, shade, light and noise.

    Raises:
        KeyError: SHAPES, COLOURS or STYLES does not hold a name.
    """
    outlines, mean, draw = SHAPES[shape], COLOURS[colour], STYLES[style]
    shade = np.array(mean, np.float32) + 12 * rng.standard_normal(3, np.float32)
    return np.clip(draw(_mask(outlines, rng), shade, rng), 0, 255).astype(np.uint8)
