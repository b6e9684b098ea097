"""A disk that is full, and one that may no longer be written to."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.namespace import may_mount
from tests.faults.processes import Process
from tests.faults.subjects import Row, Subject, repeated

ROOM = "64m"
NO_MOUNTS = "nothing may be mounted here"


def full(subject: Subject, chance: random.Random, times: int) -> Row:
    """Give it a disk that is full before it ends; then make room."""
    name = f"{subject.command.name}: disk full"
    return repeated(name, times, partial(_fill, subject, chance)) if may_mount() else Row(name, skipped=NO_MOUNTS)


def read_only(subject: Subject, chance: random.Random, times: int) -> Row:
    """Take write permission away at a random moment; then give it back."""
    name = f"{subject.command.name}: permission to write lost"
    allowed = may_mount() or os.geteuid() != 0
    return repeated(name, times, partial(_forbid, subject, chance)) if allowed else Row(name, skipped=NO_MOUNTS)


def _fill(subject: Subject, chance: random.Random, row: Row) -> None:
    with subject.folder() as folder, _disk(folder, f"{round(subject.size * chance.uniform(0.0, 1.0) / 1024) + 4}k"):
        process = subject.start(folder)
        code = process.wait()
        stage = subject.command.stage(folder)
        problems = _unexplained(process, folder, "No space left on device", "database or disk is full")
        _mount(folder, "-o", f"remount,size={ROOM}")
        problems += subject.problems_at_the_end(folder)
        if code:
            row.note(stage, problems)


def _forbid(subject: Subject, chance: random.Random, row: Row) -> None:
    with subject.folder() as folder:
        process = subject.start(folder)
        time.sleep(chance.uniform(0.0, subject.seconds))
        with _forbidden(folder):
            code = process.wait()
        stage = subject.command.stage(folder)
        problems = _unexplained(process, folder, "Read-only file system", "Permission denied", "readonly database")
        problems += subject.problems_at_the_end(folder)
        if code:
            row.note(stage, problems)


def _unexplained(process: Process, folder: Path, *reasons: str) -> list[str]:
    """Problems with the end of a command that could not write: it must name one of these reasons in one line."""
    errors = process.errors.read_text()
    lines = [line for line in errors.splitlines() if str(folder) in line and any(reason in line for reason in reasons)]
    if process.code == 0 or (process.code == 2 and lines and "Traceback" not in errors):
        return []
    return [f"ended with {process.code} and said: {errors[-1000:]}"]


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


@contextmanager
def _disk(folder: Path, size: str) -> Iterator[None]:
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _forbidden(folder: Path) -> Iterator[None]:
    """Nothing below a folder can be opened for writing while the block runs. Root is bound by mounts alone."""
    if not may_mount():
        places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for place in places:
            place.chmod(0o555)
        yield
        for place in places:
            place.chmod(0o755)
        return
    _mount("--bind", folder, folder)
    while subprocess.run(["mount", "-o", "remount,bind,ro", folder], capture_output=True, check=False).returncode:
        # Something below has just been opened for writing through the new mount.
        time.sleep(0.002)
    yield
    subprocess.run(["umount", "--lazy", folder], check=True)
