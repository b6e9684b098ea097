"""Commands as processes of their own, to be killed: forked from this one, or started as a user starts them."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lare_dassl.errors import exit_code

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod"}
TIMEOUT = 180.0


class Steps:
    """Counts the changes that a process makes to files, and kills it at one of them.

    Args:
        last: the process dies just before this one, counted from 1; 0 for never.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self._shared = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        """How many there were, in whichever process."""
        return int.from_bytes(self._shared[:8], "little")

    def watch(self) -> None:
        """Begin, in the process that this is called in; there is no end to it."""
        sys.addaudithook(self._step)

    def _step(self, event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if event not in CHANGES and not (opened and str(arguments[0]) != os.devnull):
            return
        self._shared[:8] = (self.count + 1).to_bytes(8, "little")
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Process:
    """A command at work, in a process group of its own.

    Attributes:
        number: of the process.
        errors: the file that its standard error goes to.
        code: how it has ended, as subprocess has it; None before.
    """

    number: int
    errors: Path
    code: int | None = None

    def poll(self) -> bool:
        """True once it has ended."""
        if self.code is None:
            number, status = os.waitpid(self.number, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if number else None
        return self.code is not None

    def wait(self) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutError: it does not end, and was killed.
        """
        until = time.monotonic() + TIMEOUT
        while not self.poll():
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"no end of process {self.number} after {TIMEOUT:.0f} s")
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def kill(self) -> None:
        """Kill it with all its children."""
        if not self.poll():
            os.killpg(self.number, signal.SIGKILL)
            self.wait()

    def workers(self) -> list[int]:
        """The numbers of the processes that carry out runs for it."""
        children = Path(f"/proc/{self.number}/task/{self.number}/children").read_text().split()
        return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def fork(command: Callable[[], None], errors: Path, steps: Steps | None = None) -> Process:
    """Start a command in a child of this process, which has imported all that it needs."""
    number = os.fork()
    if number:
        # Both see to it, so that it is done when either goes on.
        with suppress(OSError):
            os.setpgid(number, number)
        return Process(number, errors)
    code = 1
    try:
        _leave(errors)
        if steps is not None:
            steps.watch()
        code = exit_code(command)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start(words: list[object], errors: Path) -> Process:
    """Start `python WORDS...`."""
    return fork(lambda: os.execv(sys.executable, [sys.executable, *map(str, words)]), errors)


def _leave(errors: Path) -> None:
    """Make this process the first of a group, and send what it says to a file."""
    os.setpgid(0, 0)
    for stream, path in ((1, os.devnull), (2, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, stream)
        os.close(descriptor)
