"""What one node does for a cluster, in this process; tests/ray_cluster has clusters."""

from __future__ import annotations

import json

import pytest
import torch

from lare_dassl.encoding import shards
from lare_dassl.encoding.build import build_encoder
from lare_dassl.encoding.shards import encode_shard
from lare_dassl.errors import InputError
from tests.helpers import write_image


@pytest.fixture
def cfg(tiny_cfg):
    return tiny_cfg()


@pytest.fixture
def images(tmp_path):
    return [write_image(tmp_path / f"{number}.png", seed=number) for number in range(6)]


def test_a_shard_is_in_the_cache_afterwards_and_what_is_missing_is_asked_for_alone(cfg, images, tmp_path):
    text = json.dumps(cfg)
    assert build_encoder(cfg).missing_images([*images, images[0]]) == images
    assert encode_shard(text, 1, images[:4]) == 4
    assert build_encoder(cfg).missing_images(images) == images[4:]
    assert encode_shard(text, 1, images) == 6
    found, report = build_encoder(cfg).encode_images(images)
    assert report.decoded == 0
    cfg.EMBEDDINGS.CACHE_DIR = str(tmp_path / "other")
    assert torch.equal(build_encoder(cfg).encode_images(images)[0], found)


def test_an_unreadable_image_is_left_to_the_one_who_asked_for_all(cfg, images):
    images[2].write_bytes(b"no image")
    assert encode_shard(json.dumps(cfg), 1, images) == 6
    assert build_encoder(cfg).missing_images(images) == [images[2]]


def test_an_image_that_the_node_does_not_see_is_named(cfg, images):
    images[3].unlink()
    with pytest.raises(InputError) as error:
        encode_shard(json.dumps(cfg), 1, images)
    assert str(error.value) == f"{images[3]} is not to be seen there (DATASET.ROOT): {shards.SHARE}"
