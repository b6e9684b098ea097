from __future__ import annotations

import hashlib
import os
import sys

import pytest

from lare_dassl.embeddings.cache import hashing, hashing_worker
from lare_dassl.embeddings.cache.hashing import hash_by_programs, hash_files


@pytest.fixture
def files(tmp_path):
    """Seven files, two of which are not there; one has a name that is no text."""
    names = [b"0", b"new\nline", b"\xff", b"none", b"with space", b"5", b"gone"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        if path.name not in ("none", "gone"):
            path.write_bytes(os.fsencode(path.name) * 1000)
    return paths


def expected(files):
    digests = [hashlib.sha256(os.fsencode(path.name) * 1000).hexdigest() for path in files]
    return [None if path.name in ("none", "gone") else digest for path, digest in zip(files, digests, strict=True)]


def hash_one(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


@pytest.fixture
def programs(monkeypatch):
    """Three programs hash whatever there is."""
    monkeypatch.setattr(hashing, "usable_cores", lambda: 3)
    monkeypatch.setattr(hashing, "PROGRAMS_FROM_CORES", 3)
    monkeypatch.setattr(hashing, "PROGRAMS_FROM_FILES", 1)


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_programs_give_the_hash_of_every_file_in_its_order(files, count):
    assert hash_by_programs(files, count) == expected(files)


def test_many_files_are_hashed_by_programs_alone(files, programs):
    def not_here(path):
        raise AssertionError

    assert hash_files(files, not_here) == expected(files)


def test_few_files_are_hashed_in_threads(files, monkeypatch):
    monkeypatch.setattr(hashing, "hash_by_programs", None)
    monkeypatch.setattr(hashing, "usable_cores", lambda: 64)
    assert hash_files(files, hash_one) == expected(files)


@pytest.mark.parametrize("program", ["/bin/false", "/bin/no such program"])
def test_threads_hash_where_programs_fail(files, programs, monkeypatch, caplog, program):
    monkeypatch.setattr(sys, "executable", program)
    assert hash_files(files, hash_one) == expected(files)
    assert caplog.messages == ["programs that hash files have failed: hashing in threads"]


def test_a_program_that_does_not_end_its_work_is_not_believed(files, programs, monkeypatch, tmp_path):
    (tmp_path / "half.py").write_text("print('0' * 64)")
    monkeypatch.setattr(hashing_worker, "__file__", str(tmp_path / "half.py"))
    assert hash_by_programs(files, 3) is None


def test_an_interruption_ends_the_programs(files, programs, monkeypatch):
    begun, start = [], hashing._start

    def recorded(paths):
        begun.append(start(paths))
        return begun[-1]

    def interrupted(program):
        raise KeyboardInterrupt

    monkeypatch.setattr(hashing, "_start", recorded)
    monkeypatch.setattr(hashing, "_output", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hash_files(files, hash_one)
    assert len(begun) == 3
    assert all(program.returncode is not None for program in begun)
