from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from pathlib import Path

import pytest
import torch

from lare_dassl.embeddings import cache
from lare_dassl.embeddings.cache import FileHashes, cache_folder, file_sha256, text_key
from lare_dassl.embeddings.store import EmbeddingStore
from lare_dassl.errors import InputError


def keys_of(*names):
    return [text_key(str(name)) for name in names]


@pytest.fixture
def read_files(monkeypatch):
    """The files whose content was read to hash them, in order."""
    read = []

    def recorded(path):
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(cache, "file_sha256", recorded)
    return read


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{number}.bin" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
        os.utime(path, ns=(1, 1_000_000_000))
    return paths


@pytest.fixture
def hashes(tmp_path):
    return FileHashes(tmp_path)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_hashes_are_those_of_the_content(hashes, files):
    assert hashes(files) == {path: sha256(bytes([number]) * 100) for number, path in enumerate(files)}


def test_files_that_have_not_changed_are_not_read_again(hashes, files, read_files, tmp_path):
    first = hashes(files)
    assert sorted(read_files) == files
    assert hashes(files) == FileHashes(tmp_path)(files) == first
    assert len(read_files) == 3


def test_a_file_of_another_size_is_read_again(hashes, files, read_files):
    hashes(files)
    files[1].write_bytes(b"longer" * 50)
    os.utime(files[1], ns=(1, 1_000_000_000))
    assert hashes(files)[files[1]] == sha256(b"longer" * 50)
    assert read_files[3:] == [files[1]]


def test_a_file_of_another_mtime_is_read_again(hashes, files, read_files):
    hashes(files)
    files[2].write_bytes(b"x" * 100)
    os.utime(files[2], ns=(1, 1_000_000_001))
    assert hashes(files)[files[2]] == sha256(b"x" * 100)
    assert read_files[3:] == [files[2]]


def test_a_relative_path_means_another_file_in_another_folder(hashes, tmp_path, monkeypatch):
    found = []
    for content in (b"one", b"two"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "a.bin").write_bytes(content)
        os.utime(folder / "a.bin", ns=(1, 1_000_000_000))
        monkeypatch.chdir(folder)
        found += hashes([Path("a.bin")]).values()
    assert found == [sha256(b"one"), sha256(b"two")]


def test_files_that_cannot_be_read_are_left_out(hashes, files, tmp_path):
    assert list(hashes([tmp_path / "none.bin", files[0], tmp_path])) == [files[0]]


@pytest.mark.parametrize("content", [b"no database " * 100, None])
def test_a_damaged_table_is_begun_anew(hashes, files, read_files, caplog, content):
    expected = hashes(files)
    if content is None:
        whole = hashes.path.read_bytes()
        content = whole[:100] + b"\xff" * (len(whole) - 100)
    hashes.path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert hashes(files) == expected
    assert str(hashes.path) in caplog.text and "begun anew" in caplog.text
    assert len(read_files) == 6
    assert hashes(files) == expected
    assert len(read_files) == 6


def test_a_table_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/files\.sqlite \(EMBEDDINGS\.CACHE_DIR\)"):
        FileHashes(tmp_path / "file")([])


def test_a_table_in_use_is_told(tmp_path, monkeypatch, files):
    def locked(_):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(cache, "_connect", locked)
    with pytest.raises(InputError, match="database is locked"):
        FileHashes(tmp_path)(files)


def test_a_text_has_a_key_that_no_file_content_has():
    assert text_key("a cat") == sha256(b"text\0a cat")
    assert text_key("a cat") != sha256(b"a cat")


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "cache", "f" * 64)


def reopened(store):
    return EmbeddingStore(store.folder.parent, "f" * 64)


def rows(count, seed=0):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_embeddings_come_back_in_the_order_asked_for(store):
    first, second = rows(3, seed=1), rows(2, seed=2)
    store.add(keys_of("a", "b", "c"), first)
    store.add(keys_of("d", "e"), second)
    expected = torch.stack([second[1], first[0], first[2], second[1], first[0]])
    for found in (store, reopened(store)):
        assert torch.equal(found.gather(keys_of("e", "a", "c", "e", "a")), expected)


def test_missing_keys_are_named_once_and_in_order(store):
    store.add(keys_of("a", "b"), rows(2))
    assert store.missing(keys_of("z", "a", "y", "z", "b", "x")) == keys_of("z", "y", "x")
    assert keys_of("a")[0] in store and keys_of("z")[0] not in store
    assert reopened(store).missing(keys_of("a", "b")) == []


def test_a_store_of_nothing_gathers_nothing(store):
    assert store.gather([]).shape == (0, 0)


def test_a_key_that_was_added_twice_keeps_an_embedding(store):
    store.add(keys_of("a"), rows(1))
    store.add(keys_of("a", "b"), torch.cat([rows(1), rows(1, seed=2)]))
    assert torch.equal(reopened(store).gather(keys_of("a", "b")), torch.cat([rows(1), rows(1, seed=2)]))


def test_another_model_sees_none_of_it(store):
    store.add(keys_of("a"), rows(1))
    other = EmbeddingStore(store.folder.parent, "e" * 64)
    assert other.missing(keys_of("a")) == keys_of("a")


def flip_bit(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.parametrize("damage", [flip_bit, lambda content: content[:-9], lambda _: b""])
def test_a_damaged_shard_is_named_and_removed_and_the_others_stay(store, caplog, damage):
    store.add(keys_of("a", "b"), rows(2))
    (shard,) = store.folder.glob("*.safetensors")
    store.add(keys_of("c"), rows(1, seed=2))
    shard.write_bytes(damage(shard.read_bytes()))
    with caplog.at_level(logging.WARNING):
        found = reopened(store)
    assert f"cache shard {shard} is damaged" in caplog.text
    assert not shard.exists()
    assert found.missing(keys_of("a", "b", "c")) == keys_of("a", "b")
    found.add(keys_of("a", "b"), rows(2))
    assert torch.equal(reopened(store).gather(keys_of("c", "b")), torch.stack([rows(1, seed=2)[0], rows(2)[1]]))


def test_a_shard_that_is_no_safetensors_file_is_removed_too(store, caplog):
    content = b"something else"
    shard = store.folder / f"{sha256(content)[:32]}.safetensors"
    shard.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        reopened(store)
    assert str(shard) in caplog.text
    assert not shard.exists()


def test_what_a_killed_run_left_half_written_is_ignored(store, caplog):
    store.add(keys_of("a"), rows(1))
    (shard,) = store.folder.glob("*.safetensors")
    leftover = store.folder / f".{sha256(b'x')[:32]}.safetensors.123.tmp"
    leftover.write_bytes(shard.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        found = reopened(store)
    assert caplog.text == ""
    assert found.missing(keys_of("a", "b")) == keys_of("b")


def test_a_shard_is_written_whole_or_not_at_all(store, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.add(keys_of("a"), rows(1))
    monkeypatch.undo()
    assert list(store.folder.iterdir()) == []
    assert store.missing(keys_of("a")) == keys_of("a")


def test_facts_are_kept_and_joined(store):
    assert store.facts() == {}
    store.remember(embedding_dim=8, logit_scale=100.0)
    store.remember(agrees_with_fp32=True)
    assert reopened(store).facts() == {"embedding_dim": 8, "logit_scale": 100.0, "agrees_with_fp32": True}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\xfa"])
def test_damaged_facts_are_forgotten(store, content):
    store.remember(embedding_dim=8)
    (store.folder / "model.json").write_bytes(content)
    assert store.facts() == {}
    store.remember(embedding_dim=9)
    assert store.facts() == {"embedding_dim": 9}


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for make in (
        lambda: cache_folder(str(tmp_path / "file" / "cache")),
        lambda: EmbeddingStore(tmp_path / "file", "f"),
    ):
        with pytest.raises(InputError) as error:
            make()
        assert str(error.value).startswith(f"cannot write to {tmp_path / 'file'}/")
        assert "EMBEDDINGS.CACHE_DIR" in str(error.value)


def test_the_cache_is_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LARE_DASSL_CACHE", str(tmp_path / "environment"))
    assert cache_folder(str(tmp_path / "config")) == tmp_path / "config"
    assert cache_folder("") == tmp_path / "environment"
    monkeypatch.delenv("LARE_DASSL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("") == tmp_path / "home" / ".cache" / "lare_dassl"
    assert (tmp_path / "home" / ".cache" / "lare_dassl").is_dir()


def test_a_file_name_may_be_of_any_bytes(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(b"content")
    assert FileHashes(tmp_path)([path]) == FileHashes(tmp_path)([path]) == {path: file_sha256(path)}
