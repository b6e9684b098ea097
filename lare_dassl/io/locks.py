"""Locks that let one process at a time work in a folder."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lare_dassl.errors import InputError, unwritable

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
# Processes that are killed together do not all end at once.
PATIENCE_SECONDS = 5.0
# Error numbers of file systems without locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def only_one(file: Path, doing: str, advice: str = "wait for its end") -> Iterator[None]:
    """Keep all other processes out of this block; the lock of a killed process ends with it.

    On a network drive the lock holds for all machines. A file system without locks gives a warning and no lock.

    Args:
        file: the file to lock, made where it is missing; it may stay behind, and does not block by being there.
        doing: what is done in the block, such as "prepares pacs in 'data'".
        advice: what to do while another process holds the lock.

    Raises:
        InputError: another process holds the lock for longer than PATIENCE_SECONDS, or the file cannot be written.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=PATIENCE_SECONDS)
    except Timeout as error:
        raise InputError(f"another process {doing}: {advice}") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise unwritable(f"'{file}'", error) from error
        logger.warning("no lock (%s): make sure that no other process %s", error.strerror, doing)
    try:
        yield
    finally:
        lock.release()


def in_folder(folder: Path, flag: str) -> str:
    """The `doing` of a block that writes into the folder that a flag names."""
    return f"is at work in {folder} ({flag})"
