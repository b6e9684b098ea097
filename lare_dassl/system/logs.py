"""Where the library's log goes."""

from __future__ import annotations

import logging
import sys

from lare_dassl.errors import printable


class _Printable(logging.Formatter):
    """The message alone. Names in it come from data; none is to start a line of its own, or to steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(record.message)


def start_logging(level: int = logging.INFO) -> None:
    """Send the library's log, from a level on, to standard output, which the host copies to the run's log.txt."""
    # Some package that Dassl imports silences all logging of the process.
    logging.disable(logging.NOTSET)
    # A reader that has gone (train.py | head) is no reason for a traceback with every line.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Printable())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("lare_dassl").setLevel(level)
