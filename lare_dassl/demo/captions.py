"""Captioned renderings that the demo VLM is trained on, and its vocabulary.

Captions behave like those of the web: few shapes are mostly called by their name, the others by a feature or a vague
word, some names are wrong, and one caption rarely says all that the image shows. So the model sees more than it can
name, as a large VLM does with bird species.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import torch
from torch import Tensor

from .rendering import COLOURS, FAMILIES, SHAPES, STYLES, render

PRETRAINING_SEED = 20_409
"""First entry of every pretraining seed; the renderings of the dataset start from another one."""

RAREST_NAME = 0.04
"""How often the most rarely named shape is called by its name; the rates fall geometrically from 1 to this."""

WRONG_NAME = 0.08
"""How often a named shape gets the name of another one of its family."""

STYLE_SHARES = {"photo": 0.3, "painting": 0.14, "sketch": 0.14, "clipart": 0.14, "neon": 0.14, "pixel": 0.14}
"""Share of each style among the pretraining images."""

CAPTIONS = {
    "{style} of {a_colour} {shape}": 0.30,
    "{style} of {a_shape}": 0.25,
    "{style} of something {colour}": 0.15,
    "{style}": 0.10,
    "{a_colour} {shape}": 0.10,
    "{a_shape}": 0.05,
    "something {colour}": 0.05,
}
"""Forms of captions and how often each is used."""

SHAPES_FIRST_STEPS = 450
"""Steps at the start whose captions speak of shapes alone. Colours and styles are so much easier to see that a model
that had all three from the start still named no shape after 500 steps."""

SHAPE_CAPTION = "{a_shape}"
"""The form of caption of those steps."""

FULL_STOP = 0.5
"""Share of captions that end with a full stop."""

FAMILY_OF = {shape: family for family, shapes in FAMILIES.items() for shape in shapes}
"""The vaguest word for each shape."""

FEATURES = {
    "triangle": "three corners", "square": "even sides", "diamond": "slanted sides",
    "pentagon": "five corners", "hexagon": "six corners", "trapezoid": "wide foot",
    "circle": "smooth rim", "ring": "round hole", "oval": "long curve",
    "moon": "hollow side", "drop": "pointed top", "heart": "two bumps",
    "star": "five rays", "spark": "four rays", "burst": "many rays",
    "gear": "blunt teeth", "crown": "three peaks", "bolt": "jagged line",
    "cross": "four arms", "arrow": "one head", "bar": "straight edges",
    "chevron": "bent band", "house": "sloped roof", "hourglass": "narrow waist",
}  # fmt: skip
"""The words of a caption for a shape that its author sees but cannot name."""

FEATURE_SHARE = 0.8
"""Share of features among the captions that speak of a shape without its name; the others use the family's word."""

OTHER_WORDS = """
    a an and animal at band bear bird black boat car cartoon cat chair cup dog drawing elephant flower giraffe guitar
    head horse house image in key man object of on people person picture plane real shape small something the thing
    tree white with woman
"""
"""Everyday words that the vocabulary holds beside those of the captions."""


@dataclass(frozen=True)
class Batch:
    """Images (N, 3, IMAGE_SIZE, IMAGE_SIZE), uint8, and their N captions."""

    images: Tensor
    captions: list[str]


def naming_rates() -> dict[str, float]:
    """How often each shape is called by its name, where a caption speaks of its shape at all."""
    ranks = np.random.default_rng(PRETRAINING_SEED).permutation(len(SHAPES))
    return {shape: float(RAREST_NAME ** (rank / (len(SHAPES) - 1))) for shape, rank in zip(SHAPES, ranks, strict=True)}


_RATES = naming_rates()


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def shape_word(shape: str, rng: np.random.Generator) -> str:
    """The word for a shape in a caption: its name, a feature, its family or, by mistake, the name of a relative."""
    family = FAMILY_OF[shape]
    if rng.random() >= _RATES[shape]:
        return f"thing with {FEATURES[shape]}" if rng.random() < FEATURE_SHARE else family
    if rng.random() < WRONG_NAME:
        relatives = [other for other in FAMILIES[family] if other != shape]
        return relatives[rng.integers(len(relatives))]
    return shape


def caption(form: str, shape: str, colour: str, style: str, rng: np.random.Generator) -> str:
    """One caption, in a form of CAPTIONS, for an image of a coloured shape in a style.

    The generator draws the word for the shape and the full stop.
    """
    word = shape_word(shape, rng)
    return (form + "." * (rng.random() < FULL_STOP)).format(
        style=_with_article(style),
        colour=colour,
        a_colour=_with_article(colour),
        shape=word,
        a_shape=_with_article(word),
    )


def batch(step: int, size: int, seed: int = 0) -> Batch:
    """The batch of one step: a pure function of its arguments, so that a resumed run sees what an unbroken one sees."""
    rng = np.random.default_rng([PRETRAINING_SEED, seed, step])
    shapes, colours = _draw(dict.fromkeys(SHAPES, 1.0), size, rng), _draw(dict.fromkeys(COLOURS, 1.0), size, rng)
    scenes = list(zip(shapes, colours, _draw(STYLE_SHARES, size, rng), strict=True))
    images = np.stack([render(*scene, rng) for scene in scenes])
    forms = _draw(CAPTIONS if step >= SHAPES_FIRST_STEPS else {SHAPE_CAPTION: 1.0}, size, rng)
    captions = [caption(form, *scene, rng) for form, scene in zip(forms, scenes, strict=True)]
    return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), captions)


def _draw(weights: Mapping[str, float], size: int, rng: np.random.Generator) -> list[str]:
    """Names drawn with the given weights."""
    shares = np.array(list(weights.values()))
    return [str(name) for name in rng.choice(list(weights), size, p=shares / shares.sum())]


def vocabulary() -> list[str]:
    """The words that are one token each."""
    named = [*SHAPES, *COLOURS, *STYLES, *FAMILIES, *FEATURES.values()]
    return sorted(set(" ".join(named).split()) | set(OTHER_WORDS.split()))


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until each word is one token; other words fall into pieces."""
    pieces = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(chain.from_iterable(map(pairwise, pieces))):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merged(parts, best) for parts in pieces]
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
