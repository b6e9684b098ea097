from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import signal

import pytest

from lare_dassl.errors import InputError
from lare_dassl.io import locks
from lare_dassl.io.locks import only_one

DOING = "prepares pacs in 'data'"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)


def test_a_file_system_without_locks_is_warned_of_and_used(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), only_one(tmp_path / "lock", DOING):
        pass
    assert caplog.messages == [f"no lock (No locks available): make sure that no other process {DOING}"]


def test_the_lock_ends_with_the_block(tmp_path):
    # An empty file, as earlier versions leave it, does not block.
    (tmp_path / "lock").touch()
    busy = pytest.raises(InputError, match=f"^another process {DOING}: come back later$")
    with pytest.raises(BlockingIOError, match="a pipe"), only_one(tmp_path / "lock", DOING):
        with only_one(tmp_path / "other", DOING), busy, only_one(tmp_path / "lock", DOING, "come back later"):
            pass
        raise BlockingIOError("a pipe")
    with only_one(tmp_path / "lock", DOING):
        pass


def hold(path, held):
    with only_one(path, DOING):
        held.set()
        signal.pause()


def test_the_lock_of_a_killed_process_ends_with_it(tmp_path, monkeypatch):
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    process = spawn.Process(target=hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60)
    with pytest.raises(InputError, match="another process"), only_one(tmp_path / "lock", DOING):
        pass
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 60.0)
    os.kill(process.pid, signal.SIGKILL)
    # It may not have ended yet.
    with only_one(tmp_path / "lock", DOING):
        pass
    process.join()


def test_a_lock_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(InputError, match=r"^cannot write '.*/lock': Is a directory$"), only_one(tmp_path / "lock", ""):
        pass
