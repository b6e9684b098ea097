"""Where the library's log goes."""

from __future__ import annotations

import logging
import sys

from .errors import printable


class _OneLine(logging.Formatter):
    """Each message in one line, without what names of files may hold to steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(record.getMessage()) + (
            f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        )


def start_logging(level: int = logging.INFO) -> None:
    """Send the library's log, from a level on, to standard output, which the host copies to the run's log.txt."""
    # Some package that Dassl imports silences all logging of the process.
    logging.disable(logging.NOTSET)
    # A reader that has gone (train.py | head) is no reason for a traceback with every line.
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, force=True)
    logging.getLogger().handlers[0].setFormatter(_OneLine())
    logging.getLogger(__package__).setLevel(level)
