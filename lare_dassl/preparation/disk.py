"""Sizes for people, free space, and one preparation at a time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:  # There is none on Windows, and no lock then.
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


def show_size(size: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def check_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse what the disk cannot hold.

    Args:
        folder: where it would go; it exists.
        needed: bytes.
        purpose: what takes the space, for the message.

    Raises:
        InputError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{purpose} needs {show_size(needed)} in '{folder}', where {show_size(free)} are free: make room, "
            "or give another folder with --root"
        )


@contextmanager
def only_one(folder: Path, name: str) -> Iterator[None]:
    """Let one process at a time prepare a dataset in a folder; the lock of a process that is killed goes with it.

    Where the file system has no locks there is none, and a warning.

    Raises:
        InputError: another one is at it, or the lock file cannot be written.
    """
    path = folder / f".{name}.lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror}; check its permissions") from error
    with file:
        _lock(file.fileno(), folder, name)
        yield


def _lock(descriptor: int, folder: Path, name: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process prepares {name} in '{folder}': wait for its end") from error
    except OSError as error:
        logger.warning("no lock on '%s' (%s): let one process at a time prepare %s there", folder, error.strerror, name)
