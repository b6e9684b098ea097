"""Hashing many files: in threads, or where there are many cores, for which threads would have to wait, in programs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from lare_dassl.system.cores import usable_cores

from . import hashing_worker

logger = logging.getLogger(__name__)

# On fewer cores threads are as fast, since Python's lock is free for most of the time.
PROGRAMS_FROM_CORES = 6
# Starting the programs takes about as long as threads take for so many files.
PROGRAMS_FROM_FILES = 500
MOST_PROGRAMS = 32


def hash_files(paths: Sequence[Path], hash_one: Callable[[Path], str | None]) -> list[str | None]:
    """The sha256 of each file, None where it cannot be read.

    Args:
        paths: of the files.
        hash_one: what gives it of one file in a thread.
    """
    programs = min(usable_cores(), MOST_PROGRAMS)
    if programs >= PROGRAMS_FROM_CORES and len(paths) >= PROGRAMS_FROM_FILES:
        found = hash_by_programs(paths, programs)
        if found is not None:
            return found
        logger.warning("programs that hash files have failed: hashing in threads")
    with ThreadPoolExecutor() as pool:
        return list(pool.map(hash_one, paths))


def hash_by_programs(paths: Sequence[Path], programs: int) -> list[str | None] | None:
    """The sha256 of each file, None where it cannot be read; or None at all where a program fails."""
    size = -(-len(paths) // programs)
    running: list[subprocess.Popen[bytes]] = []
    try:
        running += [_start(paths[first : first + size]) for first in range(0, len(paths), size)]
        lines = [line for program in running for line in _output(program).decode().splitlines()]
    except OSError:
        return None
    finally:
        for program in running:
            program.kill()
            program.wait()
    return [line or None for line in lines] if len(lines) == len(paths) else None


def _start(paths: Sequence[Path]) -> subprocess.Popen[bytes]:
    program = subprocess.Popen(
        [sys.executable, "-I", "-S", hashing_worker.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C is for this process alone.
        start_new_session=True,
    )
    assert program.stdin is not None
    # If it is gone already, its output tells.
    with suppress(BrokenPipeError), program.stdin:
        program.stdin.write(b"\0".join(os.fsencode(path) for path in paths))
    return program


def _output(program: subprocess.Popen[bytes]) -> bytes:
    assert program.stdout is not None
    with program.stdout:
        output = program.stdout.read()
    if program.wait():
        raise OSError
    return output
