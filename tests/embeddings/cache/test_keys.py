from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lare_dassl.embeddings.cache.keys import EMPTY, KeyIndex, Shard, keys_from_hex, read_index, write_index


def keys_of(*names):
    return keys_from_hex([hashlib.sha256(str(name).encode()).hexdigest() for name in names])


def two_shards():
    return KeyIndex.merged([KeyIndex.of_rows(keys_of(*range(50)), 0), KeyIndex.of_rows(keys_of(*range(50, 80)), 1)])


def places(index, keys):
    found = index.find(keys)
    return [(int(index.shard[at]), int(index.row[at])) if at >= 0 else None for at in found]


def test_each_key_is_found_at_its_place():
    expected = [(0, row) for row in range(50)] + [(1, row) for row in range(30)]
    assert places(two_shards(), keys_of(*range(80))) == expected


def test_other_keys_are_not_found():
    assert places(two_shards(), keys_of("x", 3, "y")) == [None, (0, 3), None]
    lowest_and_highest = np.stack([np.zeros(32), np.full(32, 255)]).astype(np.uint8)
    assert places(two_shards(), lowest_and_highest) == [None, None]
    assert places(EMPTY, keys_of("x")) == [None]


def test_keys_that_differ_in_a_zero_at_the_end_are_kept_apart():
    keys = np.zeros((3, 32), dtype=np.uint8)
    keys[1, 31], keys[2, 30] = 1, 1
    assert places(KeyIndex.of_rows(keys, 4), keys) == [(4, 0), (4, 1), (4, 2)]


def test_shards_that_go_take_their_keys_with_them():
    index = two_shards().of_shards(np.array([False, True]))
    assert places(index, keys_of(3, 50, 79)) == [None, (0, 0), (0, 29)]


@pytest.mark.parametrize(
    ("shards", "written"),
    [([Shard("a.safetensors", 1, 2), Shard("b.safetensors", 2**40, 2**62)], two_shards()), ([], EMPTY)],
)
def test_a_file_gives_back_what_was_written(tmp_path, shards, written):
    write_index(tmp_path / "index", shards, written)
    read, index = read_index(tmp_path / "index")
    assert read == shards
    for name in ("key", "shard", "row"):
        assert np.array_equal(getattr(index, name), getattr(written, name))


def test_files_that_are_gone_give_nothing(tmp_path):
    shards, index = read_index(tmp_path / "none")
    assert shards == [] and len(index.key) == 0
    assert Shard.at(tmp_path / "none.safetensors") is None
