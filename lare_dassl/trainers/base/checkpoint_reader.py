"""Checkpoints of an earlier run, each read and hashed once, however many checks look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lare_dassl.io import checkpoint


class CheckpointReader:
    """Keeps the content of a checkpoint between the checks before a run and the trainer that loads it.

    A file that has changed since it was read, by another run in the same folder, is read again.
    """

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[tuple[int, ...], dict[str, Any]]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint, which is kept.

        Raises:
            InputError: see checkpoint.read.
        """
        place, stamp = path.absolute(), _stamp(path)
        kept = self._kept.get(place)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        state = checkpoint.read(path)
        self._kept[place] = stamp, state
        return state

    def take(self, path: Path) -> dict[str, Any]:
        """The content of a checkpoint, which is no longer kept: the reader may change it.

        Raises:
            InputError: see checkpoint.read.
        """
        state = self.read(path)
        del self._kept[path.absolute()]
        return state

    def forget(self) -> None:
        """Free the memory of all that is kept."""
        self._kept.clear()


def _stamp(path: Path) -> tuple[int, ...]:
    """Identity, size and time of a file; () where there is none."""
    if not path.is_file():
        return ()
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
