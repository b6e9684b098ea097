from __future__ import annotations

import pytest

from lare_dassl.datasets.base.class_names import (
    CIFAR100_ALIASES,
    CIFAR100_CLASSES,
    cifar100_class,
    prompt_name,
    without_number,
)

# The class names on the web page of CIFAR-100 that are not those of its files.
WEB_PAGE = {
    "orchids": "orchid",
    "poppies": "poppy",
    "roses": "rose",
    "sunflowers": "sunflower",
    "tulips": "tulip",
    "bottles": "bottle",
    "bowls": "bowl",
    "cans": "can",
    "cups": "cup",
    "plates": "plate",
    "apples": "apple",
    "mushrooms": "mushroom",
    "oranges": "orange",
    "pears": "pear",
    "sweet peppers": "sweet_pepper",
    "aquarium fish": "aquarium_fish",
    "computer keyboard": "keyboard",
    "maple": "maple_tree",
    "oak": "oak_tree",
    "palm": "palm_tree",
    "pine": "pine_tree",
    "willow": "willow_tree",
    "pickup truck": "pickup_truck",
    "lawn-mower": "lawn_mower",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("Alarm_Clock", "Alarm Clock"),
        ("ToothBrush", "ToothBrush"),
        ("TV", "TV"),
        ("lawn-mower", "lawn mower"),
        ("sweet__pepper ", "sweet pepper"),
        ("red star", "red star"),
        # Numbers that are a name, or part of one, stay.
        ("7", "7"),
        ("2.5_inch_disk", "2.5 inch disk"),
        ("747_400", "747 400"),
        ("012._rest", "012. rest"),
        ("___", "___"),
    ],
)
def test_prompt_names(name, expected):
    assert prompt_name(name) == expected


def test_the_number_alone_is_taken_off():
    assert without_number("200.Common_Yellowthroat") == "Common_Yellowthroat"
    assert without_number("Common_Yellowthroat") == "Common_Yellowthroat"


def test_cifar_has_100_classes_in_alphabetical_order():
    assert len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert set(CIFAR100_ALIASES.values()) < set(CIFAR100_CLASSES)


@pytest.mark.parametrize("spell", [str, str.upper, lambda name: name.replace("_", "-"), lambda name: f"{name}s"])
def test_official_names_of_cifar_match_themselves_in_any_spelling(spell):
    assert [cifar100_class(spell(name)) for name in CIFAR100_CLASSES] == list(CIFAR100_CLASSES)


@pytest.mark.parametrize("name", WEB_PAGE)
def test_names_of_the_web_page_of_cifar_match(name):
    assert cifar100_class(name) == WEB_PAGE[name]
    assert cifar100_class(name.title().replace(" ", "_")) == WEB_PAGE[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("butterflies", "butterfly"), ("Foxes", "fox"), ("buses", "bus"), ("wolves", "wolf"), ("Women", "woman")],
)
def test_other_plurals_match(name, expected):
    assert cifar100_class(name) == expected


@pytest.mark.parametrize("name", ["airplane", "tree", "fish", "aple", ""])
def test_other_names_match_nothing(name):
    assert cifar100_class(name) is None
