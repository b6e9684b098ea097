from __future__ import annotations

import errno
import hashlib
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from lare_dassl.embeddings.cache import store as store_module
from lare_dassl.embeddings.cache.hashes import text_key
from lare_dassl.embeddings.cache.store import EmbeddingStore, GoneError
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256
from tests.helpers import damage_unseen, flip_bit


def keys_of(*names):
    return [text_key(str(name)) for name in names]


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "cache", "f" * 64)


def reopened(store):
    return EmbeddingStore(store.folder.parent, "f" * 64)


def rows(count, seed=0):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_another_model_sees_none_of_it(store):
    store.add(keys_of("a"), rows(1))
    other = EmbeddingStore(store.folder.parent, "e" * 64)
    assert other.missing(keys_of("a")) == keys_of("a")
    # Not even in its own folder.
    (shard,) = store.folder.glob("*.safetensors")
    shard.rename(other.folder / shard.name)
    assert EmbeddingStore(store.folder.parent, "e" * 64).missing(keys_of("a")) == keys_of("a")
    assert not (other.folder / shard.name).exists()


@pytest.mark.parametrize("damage", [flip_bit, lambda content: content[:-9], lambda _: b""])
def test_a_damaged_shard_is_named_and_removed_and_the_others_stay(filled, caplog, damage):
    shard = holding(filled, "c")
    shard.write_bytes(damage(shard.read_bytes()))
    # A killed run may leave half a shard.
    (filled.folder / f".{shard.name}.123.tmp").write_bytes(b"half")
    found = reopened(filled)
    assert len(caplog.messages) == 1 and f"cache shard {shard} is damaged" in caplog.text
    assert not shard.exists()
    assert found.missing(keys_of("a", "c", "d", "f")) == keys_of("c", "d")


@pytest.mark.parametrize("content", [b"something else", save({"key": torch.ones(2, 32)}), save({"a": torch.ones(1)})])
def test_a_file_without_keys_and_embeddings_is_removed_too(store, caplog, content):
    shard = store.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    shard.write_bytes(content)
    reopened(store)
    assert str(shard) in caplog.text
    assert not shard.exists()


def test_a_shard_is_written_whole_or_not_at_all(store, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(InputError, match="Input/output error"):
        patched.setattr("pathlib.Path.replace", failing(errno.EIO))
        store.add(keys_of("a"), rows(1))
    assert list(store.folder.iterdir()) == []
    assert store.missing(keys_of("a")) == keys_of("a")


def test_facts_are_kept_and_joined(store):
    assert store.facts() == {}
    store.remember(embedding_dim=8, logit_scale=100.0)
    store.remember(agrees_with_fp32=True)
    assert reopened(store).facts() == {"embedding_dim": 8, "logit_scale": 100.0, "agrees_with_fp32": True}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\xfa"])
def test_damaged_facts_are_forgotten(store, content):
    (store.folder / "model.json").write_bytes(content)
    assert store.facts() == {}
    store.remember(embedding_dim=9)
    assert store.facts() == {"embedding_dim": 9}


@pytest.fixture
def read_whole(monkeypatch):
    """The shards that were read from end to end to check them, in order."""
    read = []

    def hashed(path):
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(store_module, "file_sha256", hashed)
    return read


def shards_of(store):
    return sorted(path.name for path in store.folder.glob("*.safetensors"))


@pytest.fixture
def filled(store):
    """Three shards, and the index that a first reading left."""
    for number, names in enumerate(("ab", "cd", "ef")):
        store.add(keys_of(*names), rows(2, seed=number))
    store.gather(keys_of("a"))
    return store


def test_shards_are_checked_once_and_only_when_they_are_used(filled, read_whole):
    """A process need not check what it wrote itself."""
    filled.gather(keys_of("c"))
    found = reopened(filled)
    assert read_whole == []
    assert torch.equal(found.gather(keys_of("d", "c")), rows(2, seed=1).flip(0))
    assert len(read_whole) == 1
    found.gather(keys_of("d", "c", "a"))
    assert found.missing(keys_of("a", "b", "c", "z")) == keys_of("z")
    assert len(read_whole) == 2


def test_a_shard_newer_than_the_index_is_read_once(filled, read_whole):
    other = reopened(filled)
    other.add(keys_of("x"), rows(1, seed=7))
    # As another process, or one that was killed, leaves it: without its place in the index.
    found = reopened(filled)
    assert len(read_whole) == 1
    assert torch.equal(found.gather(keys_of("x", "a")), torch.stack([rows(1, seed=7)[0], rows(2, seed=0)[0]]))
    read_whole.clear()
    reopened(filled)
    assert read_whole == []


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"something else" * 9, flip_bit, lambda c: c[:40], None])
def test_a_damaged_or_absent_index_is_made_anew(filled, read_whole, caplog, damage):
    index = filled.folder / "shards.index"
    if damage is None:
        index.unlink()
    else:
        index.write_bytes(damage(index.read_bytes()))
    found = reopened(filled)
    assert caplog.messages == ([f"{index} is damaged and is made anew"] if damage else [])
    assert sorted(read_whole) == shards_of(filled)
    assert torch.equal(found.gather(keys_of("f", "a")), torch.stack([rows(2, seed=2)[1], rows(2, seed=0)[0]]))
    reopened(filled)
    assert len(read_whole) == 3


def holding(store, name):
    """The shard that holds a key."""
    key = torch.tensor(bytearray.fromhex(text_key(name)), dtype=torch.uint8)
    (path,) = [path for path in store.folder.glob("*.safetensors") if (load_file(path)["key"] == key).all(1).any()]
    return path


def test_damage_that_size_and_mtime_hide_is_found_before_use(filled, caplog):
    shard = holding(filled, "c")
    damage_unseen(shard)
    found = reopened(filled)
    assert found.missing(keys_of("a", "c", "d", "f")) == keys_of("c", "d")
    assert f"cache shard {shard} is damaged" in caplog.text
    assert not shard.exists()
    found.add(keys_of("c", "d"), rows(2, seed=1))
    expected = torch.stack([rows(2, seed=2)[1], rows(2, seed=1)[1], rows(2, seed=0)[0]])
    for opened in (found, reopened(filled)):
        assert torch.equal(opened.gather(keys_of("f", "d", "a")), expected)


def test_a_key_of_a_damaged_shard_is_found_in_a_sound_one(filled):
    first = holding(filled, "a")
    filled.add(keys_of("z", "a"), rows(2, seed=9))
    filled.gather(keys_of("a"))
    damage_unseen(first)
    found = reopened(filled)
    assert found.missing(keys_of("a", "b", "z")) == keys_of("b")
    assert torch.equal(found.gather(keys_of("a")), rows(2, seed=9)[1:])


@pytest.mark.parametrize(
    ("looked", "message"), [(True, "has gone: run again"), (False, r"1 embeddings have gone from .*: run again")]
)
def test_a_shard_that_another_process_removes_is_named(filled, looked, message):
    """Also one that goes between looking and reading."""
    found = reopened(filled)
    assert not looked or found.missing(keys_of("e")) == []
    holding(filled, "e").unlink()
    with pytest.raises(GoneError, match=message):
        found.gather(keys_of("a", "e"))
    for opened in (found, reopened(filled)):
        assert opened.missing(keys_of("a", "e")) == keys_of("e")


def test_keys_may_be_an_array(filled):
    keys = store_module.keys_from_hex(keys_of("a", "z", "f"))
    assert filled.holds(keys).tolist() == [True, False, True]
    assert torch.equal(filled.gather(keys[[2, 0]]), filled.gather(keys_of("f", "a")))
    filled.add(keys[1:2], rows(1, seed=5))
    assert torch.equal(reopened(filled).gather(keys_of("z")), rows(1, seed=5))


def test_shards_in_any_number_give_what_a_table_gives(store):
    """Also keys that several shards hold."""
    generator, table, added = np.random.default_rng(0), rows(200), set()
    assert store.gather([]).shape == (0, 0)
    for number in range(20):
        chosen = generator.choice(200, size=7, replace=False)
        store.add(keys_of(*chosen), table[chosen])
        added |= {*chosen}
        if number % 5 == 0:
            store = reopened(store)
    order, absent = generator.choice(sorted(added), size=500), keys_of(*range(260, 200, -1))
    for found in (store, reopened(store)):
        assert torch.equal(found.gather(keys_of(*order)), table[order])
        assert found.missing([*absent, *keys_of(*order), *absent]) == absent
        assert found.holds([*keys_of(order[0]), absent[0]]).tolist() == [True, False]


def test_a_damaged_shard_that_cannot_be_removed_is_named(filled, monkeypatch):
    path = holding(filled, "a")
    damage_unseen(path)
    found = reopened(filled)
    monkeypatch.setattr(type(path), "unlink", failing(errno.EACCES))
    with pytest.raises(InputError) as error:
        found.missing(keys_of("a"))
    assert str(error.value) == f"cannot remove the damaged cache shard {path}: Permission denied"


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("number", "refused"),
    [(errno.EMFILE, "Too many open files"), (errno.EACCES, "Permission denied"), (errno.EIO, ""), (errno.ENOENT, "")],
)
def test_an_unreadable_shard_is_kept_unless_the_disk_lost_it(filled, monkeypatch, indexed, number, refused):
    if not indexed:
        (filled.folder / "shards.index").unlink()
    before = shards_of(filled)
    monkeypatch.setattr(store_module, "file_sha256", failing(number))
    if refused:
        with pytest.raises(InputError, match=rf"^cannot read the cache shard .*: {refused}; it is kept$"):
            reopened(filled).missing(keys_of("a"))
    else:
        assert reopened(filled).missing(keys_of("a")) == keys_of("a")
    lost = (1 if indexed else 3) if number == errno.EIO else 0
    assert len(shards_of(filled)) == len(before) - lost
