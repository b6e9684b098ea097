"""Class names: made fit for prompts, compared, and matched to official names."""

from __future__ import annotations

import re

_CIFAR100_WORDS = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_WORDS.split())
"""The fine classes of CIFAR-100 in the order of their labels, as the official files name them."""

CIFAR100_ALIASES = {
    "computer keyboard": "keyboard",
    "maple": "maple_tree",
    "oak": "oak_tree",
    "palm": "palm_tree",
    "pine": "pine_tree",
    "willow": "willow_tree",
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "wolves": "wolf",
}
"""Other names of CIFAR-100 classes: those of its web page, and plurals that no rule makes."""


def without_number(name: str) -> str:
    """A class name without the number that CUB puts in front: "001.Black_footed_Albatross"."""
    return re.sub(r"^[0-9]+\.(?=[^\W\d_])", "", name)


def prompt_name(name: str) -> str:
    """A class name as prompts have it: no number in front, spaces for underscores and hyphens, and single ones.

    Capitals stay as they are. Words that are joined by them, such as OfficeHome's "ToothBrush", stay joined: tokenizers
    read all letters as small ones, and "toothbrush" is one word.

    >>> prompt_name("001.Black_footed_Albatross")
    'Black footed Albatross'
    """
    return " ".join(re.sub(r"[_-]", " ", without_number(name)).split()) or name


def comparable_name(name: str) -> str:
    """A class name for comparison: two spellings that differ in capitals or in what `prompt_name` drops give one."""
    return prompt_name(name).casefold()


def cifar100_class(name: str) -> str | None:
    """The official name of a CIFAR-100 class that is spelled like "Sweet Peppers", "lawn-mower" or "maple".

    Returns:
        The name among CIFAR100_CLASSES; None where it is none of them.
    """
    return _CIFAR100_SPELLINGS.get(_letters(name))


def _letters(name: str) -> str:
    return comparable_name(name).replace(" ", "")


def _cifar100_spellings() -> dict[str, str]:
    """Official names by their own letters, their plurals and their aliases."""
    plurals = {_letters(plural): name for name in CIFAR100_CLASSES for plural in _plurals(name)}
    aliases = {_letters(alias): name for alias, name in CIFAR100_ALIASES.items()}
    return plurals | aliases | {_letters(name): name for name in CIFAR100_CLASSES}


def _plurals(name: str) -> tuple[str, ...]:
    return (f"{name}s", f"{name}es", f"{name[:-1]}ies") if name.endswith("y") else (f"{name}s", f"{name}es")


_CIFAR100_SPELLINGS = _cifar100_spellings()
