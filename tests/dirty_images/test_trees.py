"""Names and kinds of files as they are found in folders: nothing hangs, nothing steers a terminal, no run is spoilt."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from lare_dassl.datasets.base.image_tree import folders_in, images_in
from lare_dassl.errors import InputError, exit_code
from tests.dirty_images.making import write_as
from tests.dirty_images.test_bad_images import SKIP, record_of, split_of, train
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


def add_odd_names(world):
    for number, name in enumerate(ODD_NAMES):
        shutil.copyfile(write_image(world / "new.png", seed=500 + number), world / "images/sketch/cat" / name)
    (world / "new.png").unlink()


def test_odd_names_of_images_are_names_like_any_other(world):
    add_odd_names(world)
    assert len(images_in(world / "images/sketch/cat")) == 10 + len(ODD_NAMES)
    assert train(world, "LARE", "TRAINER.LARE.EPOCHS", 2) == 0
    assert record_of(world, "LARE")["samples"]["test"] == 24 + len(ODD_NAMES)
    named = split_of(world, "LARE")["test"]
    # Names are composed in split.json, whatever the file system does.
    assert named.count(f"sketch/cat/{NFC}") == 2
    assert f"sketch/cat/{NO_UTF8}" in named
    assert json.loads((world / "out/LARE/split.json").read_bytes().decode("ascii"))["test"] == named


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_no_name_steers_a_terminal_or_breaks_a_line(world, capfd, policy):
    add_odd_names(world)
    for name in ODD_NAMES:
        (world / "images/sketch/cat" / name).write_bytes(b"")
    assert train(world, "ZeroShot", "DATASET.BAD_IMAGES", policy) == (2 if policy == "error" else 0)
    streams = capfd.readouterr()
    told = streams.err if policy == "error" else streams.out
    line = next(line for line in told.splitlines() if " images cannot be read" in line)
    assert f"{len(ODD_NAMES)} of" in line and "\\x1b[31mred" in line
    assert "\x1b" not in streams.out + streams.err
    listed = (world / "out/ZeroShot/unreadable_images.txt").read_text().splitlines()
    assert len(listed) == len(ODD_NAMES)
    assert any("two\\nlines.png\t" in row for row in listed) and any("latin-\\udce9.png\t" in row for row in listed)


def test_an_error_is_one_line_without_anything_that_steers_a_terminal(capsys):
    def fail():
        raise InputError("cannot read \x1b[2Jscreen\n\udce9")

    assert exit_code(fail) == 2
    assert capsys.readouterr().err == "error: cannot read \\x1b[2Jscreen\\n\\udce9\n"


@pytest.mark.parametrize("place", ["photo/\x1b[31mcat", os.fsdecode(b"latin-\xe9/cat"), "photo/two\nlines"])
def test_names_of_domains_and_classes_that_are_no_text_are_refused(world, capsys, place):
    (world / "images" / place).mkdir(parents=True)
    assert train(world, "ZeroShot") == 2
    assert "holds bytes or marks that are no text: rename it" in capsys.readouterr().err.splitlines()[-1]


def test_a_no_break_space_in_the_name_of_a_class_is_text(tmp_path):
    (tmp_path / "big\u00a0dog").mkdir()
    (tmp_path / "犬\u3000猫").mkdir()
    assert folders_in(tmp_path) == ["big\u00a0dog", "犬\u3000猫"]


def test_hidden_files_and_other_files_are_no_images(world):
    for name in (".hidden.png", "._0.png", "Thumbs.db", "notes.txt", "desktop.ini", "png"):
        write_as(b"no image")(world / "images/photo/cat" / name)
    assert len(images_in(world / "images/photo/cat")) == 10
    assert train(world, "ZeroShot") == 0


@pytest.mark.parametrize("kind", ["empty", "hidden files alone"])
def test_an_empty_class_folder_is_named(world, capsys, kind):
    for path in (world / "images/photo/dog").iterdir():
        path.unlink()
    if kind != "empty":
        write_as(b"")(world / "images/photo/dog/._0.png")
    assert train(world, "ZeroShot", *SKIP) == 2
    says = f"error: class folder '{world}/images/photo/dog' has no images: fill it or remove it"
    assert capsys.readouterr().err.splitlines()[-1] == says


def test_a_folder_that_is_called_like_an_image_is_a_folder(world):
    write_image(world / "images/photo/cat/x.jpg/deep.png", seed=900)
    assert "x.jpg/deep.png" in images_in(world / "images/photo/cat")
    assert train(world, "ZeroShot") == 0


def test_links_that_lead_nowhere_beside_the_domains_and_classes_are_passed_over(world):
    for place in ("images/loop", "images/photo/loop", "images/photo/cat/loop"):
        (world / place).symlink_to("loop")
    (world / "images/dead").symlink_to("gone")
    assert folders_in(world / "images") == ["photo", "sketch"]
    assert train(world, "ZeroShot") == 0


def test_a_pipe_in_a_cifar_or_any_other_tree_is_named_where_it_is_not_passed_on(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png' is a link to nothing or no file: mend or remove it"):
        images_in(tmp_path)
    assert images_in(tmp_path, dead_links=True) == ["x.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_image_without_permission_is_told_with_the_others(world, capsys):
    (world / "images/photo/cat/0.png").chmod(0)
    assert train(world, "ZeroShot") == 2
    assert "images/photo/cat/0.png (Permission denied)" in capsys.readouterr().err


def test_keys_of_the_policy_are_checked(world, capsys):
    assert train(world, "ZeroShot", "DATASET.BAD_IMAGES", "ignore") == 2
    assert "DATASET.BAD_IMAGES must be one of error, skip, not 'ignore'" in capsys.readouterr().err
    assert train(world, "ZeroShot", "DATASET.DUPLICATES", "skip") == 2
    assert "DATASET.DUPLICATES must be one of warn, error, not 'skip'" in capsys.readouterr().err
