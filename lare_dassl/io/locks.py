"""One process at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lare_dassl.errors import InputError, unwritable

try:
    import fcntl
except ImportError:  # There is none on Windows, and no lock then.
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
# Processes that are killed together do not all end at once.
PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.05


@contextmanager
def only_one(file: Path, doing: str, advice: str = "wait for its end") -> Iterator[None]:
    """Keep all other processes from this block; the lock of a process that is killed goes with it.

    On a network drive it holds for all machines. Where the file system has no locks there is none, and a warning.

    Args:
        file: to be locked, made where it is missing; it stays, since removing it would let two in.
        doing: what is done in the block, such as "prepares pacs in 'data'".
        advice: what to do where another process is at it.

    Raises:
        InputError: another one is at it and stays so, or the lock file cannot be written.
    """
    try:
        # Network drives lock for writing alone what is open for writing.
        opened = file.open("a")
    except OSError as error:
        raise unwritable(f"'{file}'", error) from error
    with opened:
        _lock(opened.fileno(), doing, advice)
        yield


def in_folder(folder: Path, flag: str) -> str:
    """What is done in a block that writes into the folder that a flag names."""
    return f"is at work in {folder} ({flag})"


def _lock(descriptor: int, doing: str, advice: str) -> None:
    if fcntl is None:
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise InputError(f"another process {doing}: {advice}") from error
            time.sleep(POLL_SECONDS)
        except OSError as error:
            logger.warning("no lock (%s): make sure that no other process %s", error.strerror, doing)
            return
        else:
            return
