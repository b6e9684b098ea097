"""Commands with their undisturbed outcome, and the comparison of a disturbed one with it."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.commands import Command
from tests.faults.processes import Process, Steps


@dataclass
class Subject:
    """A command that is disturbed again and again, each time in a new folder.

    Attributes:
        command: the command.
        data: folder with what it works on.
        base: where its folders are made.
        forked: whether it is started from this process; else as a user does it.
        seconds: how long it takes undisturbed.
        begin: how much of that has gone by when it has begun to write.
        steps: how many changes of files it makes.
        size: bytes of what it leaves.
        expected: what that is.
    """

    command: Command
    data: Path
    base: Path
    forked: bool = True
    seconds: float = 0.0
    begin: float = 0.0
    steps: int = 0
    size: int = 0
    expected: Any = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        with self.folder() as folder:
            steps, started = Steps(), time.monotonic()
            process = self.start(folder, steps)
            self.wait_for_begin(process, folder)
            self.begin = time.monotonic() - started
            if process.wait():
                raise RuntimeError(f"undisturbed, the {self.command.name} fails: {process.errors.read_text()}")
            self.seconds, self.steps = time.monotonic() - started, steps.count
            self.size = sum(path.stat().st_size for path in folder.rglob("*"))
            self.expected = self.command.outcome(folder)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder for as long as the block runs."""
        folder = self.base / f"{self.command.name}-{next(self._numbers)}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def start(self, folder: Path, steps: Steps | None = None) -> Process:
        """Start the command in a folder."""
        return self.command.fork(self.data, folder, steps) if self.forked else self.command.start(self.data, folder)

    def wait_for_begin(self, process: Process, folder: Path) -> None:
        """Wait until the process has begun to write, or has ended."""
        while not process.poll() and not any(folder.iterdir()):
            time.sleep(0.002)

    def problems_at_the_end(self, folder: Path) -> list[str]:
        """Start the command once more in a folder, and say what is not as if nothing had happened."""
        process = self.start(folder)
        code, errors = process.wait(), process.errors.read_text()
        if code:
            return [f"the next start ends with {code}: {errors[-1000:]}"]
        problems = ["a traceback"] if "Traceback" in errors else []
        if self.command.outcome(folder) != self.expected:
            problems.append("another outcome")
        left = [path for path in folder.rglob(".*") if path.suffix in (".tmp", ".token")]
        return problems + [f"left behind: {path}" for path in left]


@dataclass
class Row:
    """The outcome of one kind of fault.

    Attributes:
        fault: in words.
        tries: how often it was tried; those that came too late, when the command had ended, do not count.
        problems: of each try that lost something, what.
        seconds: how long all of it took.
        stages: how often the command was at each stage of its course.
        skipped: why it was not tried; "" where it was.
    """

    fault: str
    tries: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    stages: dict[str, int] = field(default_factory=dict)
    skipped: str = ""

    def note(self, stage: str, problems: list[str]) -> None:
        """Count a try."""
        self.tries += 1
        self.stages[stage] = self.stages.get(stage, 0) + 1
        self.problems += [f"{self.fault}, try {self.tries}, at '{stage}': {'; '.join(problems)}"] if problems else []


def repeated(fault: str, times: int, attempt: Callable[[Row], None]) -> Row:
    """A row of so many tries; a try that comes too late is made again, but not for ever."""
    row, started = Row(fault), time.monotonic()
    for _ in range(10 + 2 * times):
        if row.tries < times:
            try:
                attempt(row)
            except TimeoutError as error:
                row.note("no end", [str(error)])
    row.seconds = time.monotonic() - started
    return row
