from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from lare_dassl.embeddings.cache import hashes as hashing
from lare_dassl.embeddings.cache.hashes import FileHashes, cache_folder, text_key
from lare_dassl.embeddings.cache.store import EmbeddingStore
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256


@pytest.fixture
def read_files(monkeypatch):
    """The files whose content was read to hash them, in order."""
    read = []

    def recorded(path):
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(hashing, "file_sha256", recorded)
    return read


def test_a_pipe_is_left_out_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    found = []
    asking = threading.Thread(
        target=lambda: found.append(FileHashes(tmp_path)([tmp_path / "pipe.jpg", tmp_path / "loop.jpg", tmp_path])),
        daemon=True,
    )
    asking.start()
    asking.join(20)
    assert found == [{}]


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
    (said,) = [record.message for record in caplog.records]
    cause = "file is not a database" if content.startswith(b"no") else "database disk image is malformed"
    assert said == f"{hashes.path} is damaged ({cause}) and is begun anew"
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

    monkeypatch.setattr(hashing, "_connect", locked)
    with pytest.raises(InputError, match="database is locked"):
        FileHashes(tmp_path)(files)


def test_a_text_has_a_key_that_no_file_content_has():
    assert text_key("a cat") == sha256(b"text in filled batches\0a cat")
    assert text_key("a cat") != sha256(b"a cat")


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
    with pytest.raises(InputError, match=r"\(EMBEDDINGS\.CACHE_DIR\): "):
        cache_folder(str(tmp_path / "file" / "cache"))


def test_the_cache_is_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LARE_DASSL_CACHE", str(tmp_path / "environment"))
    assert cache_folder(str(tmp_path / "config")) == tmp_path / "config"
    assert cache_folder("") == tmp_path / "environment"
    monkeypatch.delenv("LARE_DASSL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("") == tmp_path / "home" / ".cache" / "lare_dassl"
    assert (tmp_path / "home" / ".cache" / "lare_dassl").is_dir()


def test_keys_of_many_files_are_their_hashes_in_order(hashes, files, tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "CHUNK", 2)
    paths = [files[2], tmp_path / "none.bin", str(files[0]), files[1], files[2]]
    keys, found = hashes.keys(paths)
    assert found.tolist() == [True, False, True, True, True]
    digests = hashes(files)
    expected = [digests[files[2]], "00" * 32, digests[files[0]], digests[files[1]], digests[files[2]]]
    assert [key.tobytes().hex() for key in keys] == expected


def test_what_was_hashed_before_an_interruption_is_not_hashed_again(hashes, files, read_files, monkeypatch):
    monkeypatch.setattr(hashing, "CHUNK", 2)
    look_up, calls = hashes._look_up, []

    def interrupted(stats):
        calls.append(stats)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return look_up(stats)

    monkeypatch.setattr(hashes, "_look_up", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hashes.keys(files)
    hashes.keys(files)
    assert sorted(read_files) == files


def test_no_files_have_no_keys(hashes):
    keys, found = hashes.keys([])
    assert keys.shape == (0, 32) and found.shape == (0,)


def test_a_file_name_may_be_of_any_bytes(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(b"content")
    assert FileHashes(tmp_path)([path]) == FileHashes(tmp_path)([path]) == {path: file_sha256(path)}


def test_files_are_looked_up_a_chunk_at_a_time_and_each_once(hashes, files, monkeypatch):
    monkeypatch.setattr(hashing, "CHUNK", 2)
    look_up, asked = hashes._look_up, []
    monkeypatch.setattr(hashes, "_look_up", lambda stats: asked.append(list(stats)) or look_up(stats))
    _, found = hashes.keys(files)
    assert asked == [files[:2], files[2:]]
    assert found.dtype == bool


def test_a_table_in_use_is_waited_for_a_minute(hashes, files, monkeypatch):
    """A run that hashes many files holds the table for longer than the five seconds that sqlite waits by itself."""
    connect, waits = sqlite3.connect, []
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: waits.append(timeout) or connect(path, timeout))
    hashes(files)
    assert waits == [60]


def moved_away():
    """What sqlite raises where the file that it has open was replaced by another."""
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    return error


@pytest.mark.parametrize("failure", [moved_away(), sqlite3.DatabaseError("file is not a database")])
def test_a_table_that_another_process_mends_meanwhile_is_taken_as_it_is(hashes, files, monkeypatch, caplog, failure):
    expected = hashes(files)
    failures, connect = [failure], hashing._connect

    def failing_once(path):
        if failures:
            raise failures.pop()
        return connect(path)

    monkeypatch.setattr(hashing, "_connect", failing_once)
    assert hashes(files) == expected
    assert failures == []
    assert "begun anew" not in caplog.text


def test_the_journal_goes_with_a_damaged_table(hashes, files):
    expected = hashes(files)
    journal = hashes.path.with_name("files.sqlite-journal")
    for path in (hashes.path, journal):
        path.write_bytes(b"no database " * 100)
    assert hashes(files) == expected
    assert not journal.exists()
    assert hashes(files) == expected


def test_a_full_disk_names_the_table_and_what_to_do(hashes, files, monkeypatch):
    def full(_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(hashing, "_connect", full)
    told = r"^cannot use .*files\.sqlite \(EMBEDDINGS\.CACHE_DIR\): database or disk is full; mend that and run again"
    with pytest.raises(InputError, match=told):
        hashes(files)


def test_a_damaged_row_is_hashed_again(tmp_path, files):
    table = FileHashes(tmp_path)
    expected = table(files)
    connection = sqlite3.connect(table.path)
    with connection:
        # As a damaged page may have it: the hash of one file in the row of another.
        connection.execute("UPDATE known SET sha256 = ? WHERE path = ?", (expected[files[1]], bytes(files[0])))
        connection.execute("UPDATE known SET sha256 = ? WHERE path = ?", (b"\xff\xfe", bytes(files[2])))
    connection.close()
    assert FileHashes(tmp_path)(files) == expected


def test_a_damaged_schema_is_begun_anew(tmp_path, files, caplog):
    table = FileHashes(tmp_path)
    expected = table(files)
    for there, instead in ((b"mtime_ns", b"mtime_nz"), (b"sha256", b"sh\xff256"), (b"known", b"kn\x80wn")):
        content = table.path.read_bytes()
        assert there in content
        table.path.write_bytes(content.replace(there, instead))
        assert FileHashes(tmp_path)(files) == expected
        assert FileHashes(tmp_path)(files) == expected
    assert "is damaged" in caplog.text and "is begun anew" in caplog.text
