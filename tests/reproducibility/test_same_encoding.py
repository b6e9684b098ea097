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
from tests.helpers import run_train
from tests.reproducibility.conftest import on_images, torch_threads
from tests.reproducibility.leaving import different, left_by

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "settings",
    [
        ("DATALOADER.NUM_WORKERS", 0, "EMBEDDINGS.BATCH_SIZE", 7),
        ("DATALOADER.NUM_WORKERS", 2, "EMBEDDINGS.BATCH_SIZE", 1, "VERBOSE", "False"),
    ],
)
@pytest.mark.usefixtures("_listings_backwards")
def test_workers_batches_and_place_of_images_do_not_count(world, images_left, tmp_path, settings):
    """Nor does the order in which the file system lists them."""
    shutil.copytree(world / "images", tmp_path / "elsewhere", copy_function=shutil.copyfile)
    words = on_images(world, tmp_path / "cache", tmp_path / "elsewhere")
    assert run_train("--output-dir", tmp_path / "run", *words, *settings) == 0
    assert different(left_by(tmp_path / "run"), images_left) == []


def test_what_the_cache_held_before_does_not_count(world, images_left, tmp_path):
    """A cache that other runs have filled, with some of the images and texts, in another order."""
    words = on_images(world, tmp_path / "cache")
    others = ("DATASET.SOURCE_DOMAINS", "[sketch]", "DATASET.TARGET_DOMAINS", "[photo]", "DATASET.NUM_SHOTS", 1)
    for templates in ("['a {}.']", "['a sketch of a {}.', 'a photo of a {}.']"):
        assert run_train("--output-dir", tmp_path / templates, *words, *others, "VLM.TEMPLATES", templates) == 0
    for name in ("run", "run again"):
        assert run_train("--output-dir", tmp_path / name, *words) == 0
        assert different(left_by(tmp_path / name), images_left) == []


def test_a_training_through_the_text_tower_is_the_same_again(world, tmp_path, monkeypatch):
    words = [*on_images(world, tmp_path / "cache"), "TRAINER.NAME", "ContextOptimisation"]
    for folder, settings in (("one", ()), ("other", ("DATALOADER.NUM_WORKERS", 3, "EMBEDDINGS.BATCH_SIZE", 5))):
        assert run_train("--output-dir", tmp_path / folder, *words, *settings) == 0
        monkeypatch.setattr(door, "set_random_seed", lambda _: torch.manual_seed(77))
    one = left_by(tmp_path / "one")
    assert one["trainer"] == "ContextOptimisation" and "model/context" in one
    assert different(left_by(tmp_path / "other"), one) == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("numbers", [(1, 5, 2), (2, 64, 0), (3, 16, 3), (8, 32, 2)])
def test_threads_batches_and_order_do_not_change_a_bit(world, tmp_path, precision, numbers):
    threads, batch_size, workers = numbers
    texts = [f"a photo of a {number}." for number in range(11)]
    images = sorted((world / "images").rglob("*.png"))

    def encode(name, order, **settings):
        (tmp_path / name).mkdir()
        encoder = Encoder(vlm.resolve("demo", ""), precision, torch.device("cpu"), tmp_path / name, **settings)
        return encoder.encode_images([images[place] for place in order])[0], encoder.encode_texts(texts)

    with torch_threads(1):
        expected = encode("plain", range(len(images)))
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(threads)).tolist()
    texts.reverse()
    with torch_threads(threads):
        found = encode("other", shuffled, batch_size=batch_size, num_workers=workers)
    assert torch.equal(found[0], expected[0][shuffled])
    assert torch.equal(found[1], expected[1].flip(0))


def test_neither_host_nor_surroundings_of_a_process_count(world, images_left, tmp_path):
    """A process on the stand-in for Dassl, compared with one on the real Dassl where that is installed."""
    surroundings = {"PYTHONHASHSEED": "77", "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **surroundings, "LARE_DASSL_HOST": "builtin"}
    command = [sys.executable, PROJECT / "tools" / "train.py", "--output-dir", "run", *on_images(world, "cache")]
    subprocess.run([*map(str, command)], env=environment, cwd=tmp_path, check=True)
    assert different(left_by(tmp_path / "run"), images_left) == []
