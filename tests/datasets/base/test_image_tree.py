from __future__ import annotations

import os

import pytest

from lare_dassl.datasets.base.image_tree import dataset_root, folders_in, images_in, natural_key
from lare_dassl.errors import InputError
from tests.helpers import make_cfg


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_natural_order_counts():
    names = ["b10", "B2", "a", "10", "9", "b2"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "B2", "b2", "b10"]


def test_images_are_found_at_any_depth_without_hidden_and_other_files(tmp_path):
    touch(tmp_path / "2.JPG", tmp_path / "10.webp", tmp_path / "deep" / "er" / "1.png", tmp_path / "notes.txt")
    touch(tmp_path / ".thumbs" / "1.png", tmp_path / "._2.jpg")
    assert images_in(tmp_path) == ["2.JPG", "10.webp", "deep/er/1.png"]
    assert folders_in(tmp_path) == ["deep"]


def test_links_are_followed_and_circles_end(tmp_path):
    touch(tmp_path / "elsewhere" / "3.png", tmp_path / "here" / "1.png")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "2.png").symlink_to(tmp_path / "elsewhere" / "3.png")
    assert images_in(tmp_path / "here") == ["1.png", "2.png", "linked/3.png"]


def test_links_to_nothing_and_pipes_are_left_to_the_caller(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "2.png")
    assert images_in(tmp_path) == ["1.png", "2.png"]


def test_dataset_root_expands_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert dataset_root(make_cfg(DATASET__ROOT="~/data"), "x") == tmp_path / "data"


def test_dataset_root_refuses_what_is_no_folder(tmp_path):
    touch(tmp_path / "file")
    for root, message in (("", "is empty"), (tmp_path / "gone", "does not exist"), (tmp_path / "file", "not a folder")):
        with pytest.raises(InputError, match=rf"DATASET.ROOT.*{message}.*holds the birds with --root"):
            dataset_root(make_cfg(DATASET__ROOT=root), "the birds")
