from __future__ import annotations

import errno
import logging
import threading

import pytest

from lare_dassl.system.logs import start_logging


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root, package = logging.getLogger(), logging.getLogger("lare_dassl")
    before = root.handlers[:], root.level, package.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, package.level, logging.raiseExceptions = before


def test_the_library_is_heard_on_standard_output_and_others_only_when_they_warn(capsys):
    start_logging()
    logging.getLogger("lare_dassl.commands.train").info("ours")
    logging.getLogger("another").info("theirs")
    logging.getLogger("another").warning("their warning")
    assert capsys.readouterr().out == "ours\ntheir warning\n"


def test_a_level_can_be_asked_for(capsys):
    start_logging(logging.WARNING)
    logging.getLogger("lare_dassl.commands.train").info("quiet")
    logging.getLogger("lare_dassl.commands.train").warning("loud")
    assert capsys.readouterr().out == "loud\n"


def test_it_is_heard_though_a_package_has_silenced_the_process(capsys):
    logging.disable(logging.WARNING)
    start_logging()
    logging.getLogger("lare_dassl.commands.train").info("heard")
    assert capsys.readouterr().out == "heard\n"


def test_a_thread_that_meets_a_full_disk_is_one_line(capsys):
    def write():
        raise OSError(errno.ENOSPC, "No space left on device")

    start_logging()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert capsys.readouterr() == ("a thread has ended: No space left on device\n", "")
