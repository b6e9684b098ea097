"""Names and kinds of files as they are found in folders: nothing hangs, nothing steers a terminal, no run is spoilt."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from lare_dassl.datasets.base.image_tree import folders_in, images_in
from lare_dassl.errors import InputError, exit_code
from tests.dirty_images.making import written
from tests.dirty_images.test_bad_images import SKIP, last_line, record_of, split_of, train
from tests.helpers import make_domain_tree, write_image, write_tiny_model

NFC, NFD = "é.png", "e\u0301.png"
NO_UTF8 = os.fsdecode(b"latin-\xe9.png")
ODD_NAMES = (
    *("with spaces .png", NFC, NFD, "two\nlines.png", "-leading.png", NO_UTF8, "\x1b[31mred\x1b[0m.png"),
    *("UPPER.PNG", "Mixed.JpG", "quote'\".png", "$HOME.png", "#1.png", "%s.png", "名前.png", "a" * 240 + ".png"),
)


@pytest.fixture
def world(tmp_path):
    """Ten images of each of two classes in two domains, and a tiny model."""
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    write_tiny_model(tmp_path / "model")
    return tmp_path


def test_odd_names_of_images_are_names_like_any_other(world):
    for number, name in enumerate(ODD_NAMES):
        shutil.copyfile(write_image(world / "new.png", seed=500 + number), world / "images/sketch/cat" / name)
    assert len(images_in(world / "images/sketch/cat")) == 10 + len(ODD_NAMES)
    assert train(world, "LARE", "TRAINER.LARE.EPOCHS", 2) == 0
    assert record_of(world, "LARE").samples["test"] == 24 + len(ODD_NAMES)
    named = split_of(world, "LARE")["test"]
    # Names are composed in split.json, whatever the file system does.
    assert named.count(f"sketch/cat/{NFC}") == 2
    assert f"sketch/cat/{NO_UTF8}" in named
    assert json.loads((world / "out/LARE/split.json").read_bytes().decode("ascii"))["test"] == named


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_no_name_steers_a_terminal_or_breaks_a_line(world, capfd, policy):
    for name in ODD_NAMES:
        (world / "images/sketch/cat" / name).write_bytes(b"")
    assert train(world, "ZeroShot", "DATASET.BAD_IMAGES", policy) == (2 if policy == "error" else 0)
    streams = capfd.readouterr()
    shown = streams.err if policy == "error" else streams.out
    line = next(line for line in shown.splitlines() if " images cannot be read" in line)
    assert f"{len(ODD_NAMES)} of" in line and "\\x1b[31mred" in line
    assert "\x1b" not in streams.out + streams.err
    listed = (world / "out/ZeroShot/unreadable_images.txt").read_text()
    assert listed.count("\n") == len(ODD_NAMES)
    assert "two\\nlines.png\t" in listed and "latin-\\udce9.png\t" in listed


def test_an_error_is_one_line_without_anything_that_steers_a_terminal(capsys):
    def fail():
        raise InputError("cannot read \x1b[2Jscreen\n\udce9")

    assert exit_code(fail) == 2
    assert capsys.readouterr().err == "error: cannot read \\x1b[2Jscreen\\n\\udce9\n"


def add_folder(place):
    return lambda world: (world / "images" / place).mkdir(parents=True)


def empty_class(world):
    for path in (world / "images/photo/dog").iterdir():
        path.unlink()
    # A hidden file is no image.
    (world / "images/photo/dog/._0.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add_folder("photo/\x1b[31mcat"), "holds bytes or marks that are no text: rename it"),
        (add_folder(os.fsdecode(b"latin-\xe9/cat")), "holds bytes or marks that are no text: rename it"),
        (add_folder("photo/two\nlines"), "holds bytes or marks that are no text: rename it"),
        (empty_class, "/images/photo/dog' has no images: fill it or remove it"),
    ],
)
def test_folders_that_are_no_classes_are_named(world, capsys, spoil, message):
    spoil(world)
    assert train(world, "ZeroShot", *SKIP) == 2
    assert message in last_line(capsys)


def test_a_no_break_space_in_the_name_of_a_class_is_text(tmp_path):
    for name in ("big\u00a0dog", "犬\u3000猫"):
        (tmp_path / name).mkdir()
    assert folders_in(tmp_path) == ["big\u00a0dog", "犬\u3000猫"]


def test_other_files_and_links_to_nowhere_are_passed_over_and_folders_called_like_images_are_folders(world):
    for name in (".hidden.png", "._0.png", "Thumbs.db", "notes.txt", "desktop.ini", "png"):
        written(b"no image")(world / "images/photo/cat" / name)
    for place in ("images/loop", "images/photo/loop", "images/photo/cat/loop"):
        (world / place).symlink_to("loop")
    (world / "images/dead").symlink_to("gone")
    write_image(world / "images/photo/cat/x.jpg/deep.png", seed=900)
    assert folders_in(world / "images") == ["photo", "sketch"]
    assert images_in(world / "images/photo/cat") == [*(f"{number}.png" for number in range(10)), "x.jpg/deep.png"]
    assert train(world, "ZeroShot") == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("BAD_IMAGES", "DATASET.BAD_IMAGES must be one of error, skip, not 'other'"),
        ("DUPLICATES", "DATASET.DUPLICATES must be one of warn, error, not 'other'"),
    ],
)
def test_keys_of_the_policy_are_checked(world, capsys, key, message):
    assert train(world, "ZeroShot", f"DATASET.{key}", "other") == 2
    assert message in last_line(capsys)
