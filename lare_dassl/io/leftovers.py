"""Temporary files and folders, named so that a later start can tell which ones a killed process has left."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

SUFFIX = ".tmp"
# A temporary file of another machine is abandoned after this time: nothing takes that long to write.
STALE_SECONDS = 24 * 3600.0
OWNER = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.[a-z]+$")


def beside(path: Path, suffix: str = SUFFIX) -> Path:
    """Return a hidden, unique name beside a path that holds its machine and its process."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


@cache
def _machine() -> str:
    """Hash of what numbers processes: machine, boot and container, since on a network drive numbers may recur."""
    parts = [platform.node()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")]
        parts += [str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def remove_leftovers(folder: Path, suffix: str = SUFFIX) -> None:
    """Remove files and folders named by `beside` whose process has ended; those that cannot be removed stay.

    The processes of another machine cannot be seen: its files are removed a day later, those of other suffixes never.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(".") and entry.name.endswith(suffix)]:
            if _is_left(folder / name, suffix == SUFFIX):
                _remove(folder / name)


def _is_left(path: Path, may_be_stale: bool) -> bool:
    owner = OWNER.search(path.name)
    if owner is None:
        return False
    if owner[1] == _machine() and os.name == "posix":
        return not _is_running(int(owner[2]))
    return may_be_stale and time.time() - path.stat().st_mtime > STALE_SECONDS


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
