"""Sizes for people, and free space."""

from __future__ import annotations

import shutil
from pathlib import Path

from lare_dassl.errors import InputError


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
