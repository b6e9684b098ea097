from __future__ import annotations

import logging

import pytest

from lare_dassl.errors import InputError
from lare_dassl.preparation import disk
from lare_dassl.preparation.disk import only_one


def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(disk.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), only_one(tmp_path, "pacs"):
        pass
    assert caplog.messages == [
        f"no lock on '{tmp_path}' (No locks available): let one process at a time prepare pacs there"
    ]


def test_an_error_of_what_is_done_meanwhile_is_not_taken_for_another_process(tmp_path):
    with pytest.raises(BlockingIOError, match="a pipe"), only_one(tmp_path, "pacs"):
        raise BlockingIOError("a pipe")


def test_the_lock_goes_with_the_block(tmp_path):
    with (
        only_one(tmp_path, "pacs"),
        only_one(tmp_path, "vlcs"),
        pytest.raises(InputError, match="another process prepares pacs in"),
        only_one(tmp_path, "pacs"),
    ):
        pass
    with only_one(tmp_path, "pacs"):
        pass


def test_a_lock_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / ".pacs.lock").mkdir()
    told = r"^cannot write '.*\.pacs\.lock': Is a directory; check its permissions$"
    with pytest.raises(InputError, match=told), only_one(tmp_path, "pacs"):
        pass
