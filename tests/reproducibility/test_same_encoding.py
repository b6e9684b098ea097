"""Runs on images leave the same bytes, however the images are found, decoded, encoded and cached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.host import door
from lare_dassl.host.door import HOST
from tests.helpers import run_train
from tests.reproducibility.conftest import on_images, torch_threads
from tests.reproducibility.leaving import different, left_by

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "settings",
    [
        ("DATALOADER.NUM_WORKERS", 0),
        ("DATALOADER.NUM_WORKERS", 3),
        ("EMBEDDINGS.BATCH_SIZE", 1),
        ("EMBEDDINGS.BATCH_SIZE", 7),
        ("DATALOADER.NUM_WORKERS", 2, "EMBEDDINGS.BATCH_SIZE", 16, "VERBOSE", "False"),
    ],
)
def test_workers_and_batches_of_the_encoder_do_not_count(world, images_left, tmp_path, settings):
    assert run_train("--output-dir", tmp_path / "run", *on_images(world, tmp_path / "cache"), *settings) == 0
    assert different(left_by(tmp_path / "run"), images_left) == []


def test_what_the_cache_held_before_does_not_count(world, images_left, tmp_path):
    """A cache that other runs have filled, with some of the images and texts, in another order."""
    words = on_images(world, tmp_path / "cache")
    others = ("DATASET.SOURCE_DOMAINS", "[sketch]", "DATASET.TARGET_DOMAINS", "[photo]", "DATASET.NUM_SHOTS", 1)
    assert run_train("--output-dir", tmp_path / "sketches", *words, *others, "VLM.TEMPLATES", "['a {}.']") == 0
    both = "['a sketch of a {}.', 'a photo of a {}.']"
    assert run_train("--output-dir", tmp_path / "texts", *words, *others, "VLM.TEMPLATES", both) == 0
    for number in range(2):
        assert run_train("--output-dir", tmp_path / f"run{number}", *words) == 0
        assert different(left_by(tmp_path / f"run{number}"), images_left) == []


@pytest.mark.usefixtures("_listings_backwards")
def test_order_of_files_and_place_of_the_images_do_not_count(world, images_left, tmp_path):
    shutil.copytree(world / "images", tmp_path / "elsewhere", copy_function=shutil.copyfile)
    words = on_images(world, tmp_path / "cache", tmp_path / "elsewhere")
    assert run_train("--output-dir", tmp_path / "run", *words) == 0
    assert different(left_by(tmp_path / "run"), images_left) == []


def test_a_training_through_the_text_tower_is_the_same_again(world, tmp_path, monkeypatch):
    words = [*on_images(world, tmp_path / "cache"), "TRAINER.NAME", "ContextOptimisation"]
    for folder, settings in (("one", ()), ("other", ("DATALOADER.NUM_WORKERS", 3, "EMBEDDINGS.BATCH_SIZE", 5))):
        assert run_train("--output-dir", tmp_path / folder, *words, *settings) == 0
        monkeypatch.setattr(door, "set_random_seed", lambda _: torch.manual_seed(77))
    one = left_by(tmp_path / "one")
    assert one["trainer"] == "ContextOptimisation" and "model/context" in one
    assert different(left_by(tmp_path / "other"), one) == []


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_and_order_of_the_encoding_do_not_count(world, tmp_path, threads):
    images = sorted((world / "images").rglob("*.png"))
    source = vlm.resolve(f"local-dir:{world}/model", "", allow_random=True)

    def encode(name, paths, texts):
        (tmp_path / name).mkdir()
        encoder = Encoder(source, "fp32", torch.device("cpu"), tmp_path / name, batch_size=32, num_workers=2)
        return encoder.encode_images(paths)[0], encoder.encode_texts(texts)

    texts = [f"a photo of a {number}." for number in range(11)]
    with torch_threads(1):
        expected = encode("plain", images, texts)
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(threads)).tolist()
    with torch_threads(threads):
        found = encode("other", [images[place] for place in shuffled], texts[::-1])
    assert torch.equal(found[0], expected[0][shuffled])
    assert torch.equal(found[1], expected[1].flip(0))


@pytest.fixture(scope="module")
def left_by_a_process_of_its_own(world, tmp_path_factory):
    """A run on the stand-in for Dassl in another process, all of whose surroundings are other ones."""
    folder = tmp_path_factory.mktemp("process")
    surroundings = {"PYTHONHASHSEED": "77", "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, PROJECT / "tools" / "train.py", "--output-dir", "run", *on_images(world, "cache")]
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **surroundings, "LARE_DASSL_HOST": "builtin"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return left_by(folder / "run")


def test_the_surroundings_of_a_process_do_not_count(left_by_a_process_of_its_own, images_left):
    assert different(left_by_a_process_of_its_own, images_left) == []


@pytest.mark.skipif(HOST != "dassl", reason="the stand-in is compared with the real Dassl, and none is installed")
def test_both_hosts_give_the_same(left_by_a_process_of_its_own, images_left):
    assert different(left_by_a_process_of_its_own, images_left) == []
