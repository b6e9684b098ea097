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


@pytest.mark.parametrize(
    ("level", "heard"), [(logging.INFO, "ours\nour warning\ntheir warning\n"), (logging.ERROR, "their warning\n")]
)
def test_the_library_is_heard_and_others_only_if_they_warn(capsys, level, heard):
    """Also where a package has silenced the process."""
    logging.disable(logging.WARNING)
    start_logging(level)
    for name in ("lare_dassl.commands.train", "another"):
        whose = "our" if name.startswith("lare_dassl") else "their"
        logging.getLogger(name).info("%ss", whose)
        logging.getLogger(name).warning("%s warning", whose)
    assert capsys.readouterr().out == heard


def test_a_thread_that_meets_a_full_disk_is_one_line(capsys):
    def write():
        raise OSError(errno.ENOSPC, "No space left on device")

    start_logging()
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert capsys.readouterr() == ("a thread has ended: No space left on device\n", "")
