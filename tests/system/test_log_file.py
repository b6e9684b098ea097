from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

from lare_dassl.errors import InputError
from lare_dassl.system.log_file import Tee, setup_logger


@pytest.fixture(autouse=True)
def console(monkeypatch, capsys):
    """Standard output as it was before the test is put back after it."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    return capsys


def test_output_goes_to_the_console_and_to_the_file(tmp_path, console):
    """A resumed run adds to the same file; without a folder nothing happens."""
    before = sys.stdout
    setup_logger(None)
    setup_logger("")
    assert sys.stdout is before
    for line in ("first", "second"):
        setup_logger(str(tmp_path / "run"))
        print(line)
    assert console.readouterr().out == "first\nsecond\n"
    assert (tmp_path / "run" / "log.txt").read_text() == "first\nsecond\n"
    assert [path.name for path in tmp_path.rglob("*.*")] == ["log.txt"]


def test_the_next_run_in_the_process_leaves_the_file_of_the_last(tmp_path):
    before = sys.stdout
    setup_logger(str(tmp_path / "a.log"))
    setup_logger(str(tmp_path / "b.log"))
    print("for b")
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text() == "for b\n"
    assert isinstance(sys.stdout, Tee)
    assert sys.stdout.console is before
    assert not sys.stdout.isatty() and sys.stdout.writable()
    sys.stdout.close()
    assert not before.closed


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(InputError, match=r"cannot write the log .*log.txt: Is a directory"):
        setup_logger(str(tmp_path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_run_goes_on_where_its_log_cannot_be_written_any_more(tmp_path, console):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    setup_logger(str(tmp_path))
    for line in ("first", "second"):
        print(line)
    sys.stdout.flush()
    sys.stdout.close()
    told = f"the log {tmp_path}/log.txt goes no further: No space left on device\n"
    assert console.readouterr().out.replace(told, "", 1) == "first\nsecond\n"


def test_a_log_that_fails_to_close_leaves_the_console(tmp_path, console):
    failing = mock.Mock(**{"close.side_effect": ValueError("no buffer")})
    with mock.patch.object(Path, "open", return_value=failing):
        setup_logger(str(tmp_path))
    sys.stdout.close()
    assert console.readouterr().out == f"the log {tmp_path}/log.txt goes no further: no buffer\n"
