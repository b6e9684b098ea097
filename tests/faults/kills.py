"""kill -9: at random moments, at random changes of files, of all processes or of one worker alone."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults.processes import Steps
from tests.faults.subjects import Row, Subject, repeated

# Starts a command in a folder and kills it; False where it came too late.
Killing = Callable[[Subject, random.Random, Path], bool]
# So many times out of ten the command is killed a second time, as it goes on.
TWICE = 3


def at_moments(subject: Subject, chance: random.Random, times: int) -> Row:
    """Kill all of its processes, at moments spread over its whole course."""
    return repeated(f"{_name(subject)}: killed at a random moment", times, partial(_kill, subject, chance, _moment))


def at_changes(subject: Subject, chance: random.Random, times: int) -> Row:
    """Have it die just before a file is opened for writing, renamed or removed, or a folder made."""
    return repeated(f"{_name(subject)}: killed as it changes a file", times, partial(_kill, subject, chance, _change))


def of_workers(subject: Subject, chance: random.Random, times: int) -> Row:
    """Kill one worker of a benchmark, which goes on."""
    return repeated(f"{_name(subject)}: a worker killed", times, partial(_kill, subject, chance, _worker))


def _name(subject: Subject) -> str:
    return subject.command.name + ("" if subject.forked else f" ({subject.command.tool})")


def _kill(subject: Subject, chance: random.Random, how: Killing, row: Row) -> None:
    with subject.folder() as folder:
        killed = [how(subject, chance, folder) for _ in range(2 if chance.randrange(10) < TWICE else 1)]
        stage = subject.command.stage(folder)
        problems = subject.problems_at_the_end(folder)
        if any(killed):
            row.note(stage, problems)


def _moment(subject: Subject, chance: random.Random, folder: Path) -> bool:
    process = subject.start(folder)
    if not subject.forked:
        subject.wait_for_begin(process, folder)
    time.sleep(chance.uniform(0.0, subject.seconds - (0.0 if subject.forked else subject.begin)))
    process.kill()
    return process.wait() == -signal.SIGKILL


def _change(subject: Subject, chance: random.Random, folder: Path) -> bool:
    process = subject.start(folder, Steps(chance.randint(1, subject.steps)))
    return process.wait() == -signal.SIGKILL


def _worker(subject: Subject, chance: random.Random, folder: Path) -> bool:
    process, begun = subject.start(folder), chance.randint(1, len(subject.expected))
    while not process.poll() and len(list(folder.rglob("log.txt"))) < begun:
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.1))
    workers = [] if process.poll() else process.workers()
    if workers:
        os.kill(chance.choice(workers), signal.SIGKILL)
    return process.wait() == 2 and bool(workers)
