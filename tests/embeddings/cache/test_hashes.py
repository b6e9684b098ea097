from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from lare_dassl.embeddings.cache import hashes as hashes_module
from lare_dassl.embeddings.cache.hashes import FileHashes, cache_folder, hash_files, text_key
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256

SECOND = 1_000_000_000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def write(path, content, mtime_ns=SECOND):
    path.write_bytes(content)
    os.utime(path, ns=(1, mtime_ns))
    return path


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return [write(folder / f"{number}.bin", bytes([number]) * 100) for number in range(3)]


@pytest.fixture
def hashes(tmp_path):
    return FileHashes(tmp_path)


@pytest.fixture
def read_files(monkeypatch):
    """The files whose content was read to hash them."""
    read = []

    def recorded(path):
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(hashes_module, "file_sha256", recorded)
    return read


@pytest.fixture
def connections(monkeypatch):
    """How the next openings of the table fail, the first first; None for one that does not. Each waits a minute."""
    failures, connect = [], sqlite3.connect

    def opened(path, timeout):
        assert timeout == 60
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure
        return connect(path, timeout)

    monkeypatch.setattr(sqlite3, "connect", opened)
    return failures


def test_each_file_is_hashed_once(hashes, files, read_files):
    expected = {path: sha256(bytes([number]) * 100) for number, path in enumerate(files)}
    assert hashes(files) == hashes(files) == FileHashes(hashes.path.parent)(files) == expected
    assert sorted(read_files) == files


def test_files_are_hashed_in_their_order_whatever_their_names(tmp_path):
    names = [b"0", b"new\nline", b"\xff", b"with space"]
    paths = [write(tmp_path / os.fsdecode(name), name * 1000) for name in names]
    expected = [(path, sha256(name * 1000)) for path, name in zip(paths, names, strict=True)]
    assert list(hash_files([*paths[:2], tmp_path / "none", *paths[2:]]).items()) == expected
    assert FileHashes(tmp_path)(paths) == FileHashes(tmp_path)(paths) == dict(expected)


@pytest.mark.parametrize(("content", "mtime_ns"), [(b"longer" * 50, SECOND), (b"x" * 100, SECOND + 1)])
def test_a_file_of_another_size_or_mtime_is_read_again(hashes, files, read_files, content, mtime_ns):
    hashes(files)
    write(files[1], content, mtime_ns)
    assert hashes(files)[files[1]] == sha256(content)
    assert read_files[3:] == [files[1]]


def test_a_relative_path_means_another_file_in_another_folder(hashes, tmp_path, monkeypatch):
    for content in (b"one", b"two"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        write(folder / "a.bin", content)
        monkeypatch.chdir(folder)
        assert hashes([Path("a.bin")]) == {Path("a.bin"): sha256(content)}


def test_what_is_no_readable_file_is_left_out_without_waiting(hashes, files, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    asked, found = [tmp_path / name for name in ("pipe.jpg", "loop.jpg", "none.jpg", "")], []
    asking = threading.Thread(target=lambda: found.extend(hashes([*asked, files[0]])), daemon=True)
    asking.start()
    asking.join(20)
    assert found == [files[0]]


def test_keys_of_many_files_are_their_hashes_in_order(hashes, files, tmp_path, monkeypatch):
    monkeypatch.setattr(hashes_module, "CHUNK", 2)
    keys, found = hashes.keys([files[2], tmp_path / "none.bin", str(files[0]), files[1], files[2]])
    assert found.dtype == bool and found.tolist() == [True, False, True, True, True]
    zeros, ones, twos = (sha256(bytes([number]) * 100) for number in range(3))
    assert [key.tobytes().hex() for key in keys] == [twos, "00" * 32, zeros, ones, twos]
    keys, found = hashes.keys([])
    assert keys.shape == (0, 32) and found.shape == (0,)


def test_an_interruption_keeps_what_was_hashed(hashes, files, read_files, monkeypatch, connections):
    monkeypatch.setattr(hashes_module, "CHUNK", 2)
    connections += [None, KeyboardInterrupt]
    with pytest.raises(KeyboardInterrupt):
        hashes.keys(files)
    assert sorted(read_files) == files[:2]
    hashes.keys(files)
    assert sorted(read_files) == files


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda whole: b"\xff" * len(whole), "file is not a database"),
        (lambda whole: whole[:100] + b"\xff" * (len(whole) - 100), "database disk image is malformed"),
        (lambda whole: whole.replace(b"mtime_ns", b"mtime_nz"), ""),
        (lambda whole: whole.replace(b"sha256", b"sh\xff256"), ""),
        (lambda whole: whole.replace(b"known", b"kn\x80wn"), ""),
    ],
)
def test_a_damaged_table_is_begun_anew_and_its_journal_goes(hashes, files, caplog, damage, cause):
    expected = hashes(files)
    journal = hashes.path.with_name("files.sqlite-journal")
    content = damage(hashes.path.read_bytes())
    for path in (hashes.path, journal) if cause else (hashes.path,):
        path.write_bytes(content)
    assert hashes(files) == hashes(files) == expected
    if cause:
        assert caplog.messages == [f"{hashes.path} is damaged ({cause}) and is begun anew"]
        assert not journal.exists()


def test_a_damaged_row_is_hashed_again(hashes, files):
    expected = hashes(files)
    connection = sqlite3.connect(hashes.path)
    with connection:
        # As a damaged page may have it: the hash of one file in the row of another.
        connection.execute("UPDATE known SET sha256 = ? WHERE path = ?", (expected[files[1]], bytes(files[0])))
        connection.execute("UPDATE known SET sha256 = ? WHERE path = ?", (b"\xff\xfe", bytes(files[2])))
    connection.close()
    assert hashes(files) == expected


@pytest.mark.parametrize("code", [sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_NOTADB])
def test_a_table_that_another_process_mends_meanwhile_is_taken(hashes, files, caplog, connections, code):
    expected = hashes(files)
    connections.append(sqlite3.OperationalError("replaced meanwhile"))
    connections[0].sqlite_errorcode = code
    assert hashes(files) == expected
    assert connections == []
    assert "begun anew" not in caplog.text


@pytest.mark.parametrize("cause", ["database is locked", "database or disk is full", None])
def test_a_table_that_cannot_be_used_is_named_with_what_to_do(hashes, files, connections, cause):
    if cause:
        connections.append(sqlite3.OperationalError(cause))
    else:
        hashes.path.parent.rename(hashes.path.parent.with_name("gone"))
    cause = cause or "unable to open database file"
    with pytest.raises(InputError, match=rf"files\.sqlite \(EMBEDDINGS\.CACHE_DIR\): {cause}; mend that and run again"):
        hashes(files)


def test_a_text_has_a_key_that_no_file_content_has():
    assert text_key("a cat") == sha256(b"text in filled batches\0a cat")


def test_the_cache_is_where_the_config_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LARE_DASSL_CACHE", str(tmp_path / "environment"))
    assert cache_folder(str(tmp_path / "config")) == tmp_path / "config"
    assert cache_folder("") == tmp_path / "environment"
    monkeypatch.delenv("LARE_DASSL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("") == tmp_path / "home" / ".cache" / "lare_dassl"
    assert (tmp_path / "home" / ".cache" / "lare_dassl").is_dir()


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write to .*/file/cache \(EMBEDDINGS\.CACHE_DIR\): "):
        cache_folder(str(tmp_path / "file" / "cache"))
