"""Sizes in readable units, and a check of free disk space."""

from __future__ import annotations

import shutil
from pathlib import Path

from lare_dassl.errors import InputError


def show_size(size: int) -> str:
    """Format a number of bytes.

    >>> show_size(12_345_678)
    '12.3 MB'
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def check_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse a job for which the disk of an existing folder has too little space.

    Raises:
        InputError: fewer bytes are free than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{purpose} needs {show_size(needed)} in '{folder}', where {show_size(free)} are free: make room, "
            "or give another folder with --root"
        )
