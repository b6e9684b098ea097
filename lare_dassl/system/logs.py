"""The library's log: messages on standard output, one line each."""

from __future__ import annotations

import logging
import sys
import threading

from lare_dassl.errors import printable

logger = logging.getLogger(__name__)


class _Printable(logging.Formatter):
    """Formats the message alone, with names from data escaped: no new line, no control of the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(record.message)


def start_logging(level: int = logging.INFO) -> None:
    """Send log messages of this level and above to standard output, which the host copies to the run's log.txt."""
    # Some package that Dassl imports silences all logging of the process.
    logging.disable(logging.NOTSET)
    # A reader that has gone (train.py | head) is no reason for a traceback with every line.
    logging.raiseExceptions = False
    threading.excepthook = _report_thread
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Printable())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("lare_dassl").setLevel(level)


def _report_thread(failure: threading.ExceptHookArgs) -> None:
    """Log one line where a full disk ends tensorboard's thread; the next write raises the same error."""
    if isinstance(failure.exc_value, OSError):
        logger.warning("a thread has ended: %s", failure.exc_value.strerror or failure.exc_value)
    else:
        threading.__excepthook__(failure)
