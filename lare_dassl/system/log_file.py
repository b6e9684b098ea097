"""The log file of a run: a copy of standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from lare_dassl.errors import unwritable


class Tee:
    """A text stream that writes to the console and to a file.

    If the file can no longer be written, one line on the console says so and the console alone goes on: a log is no
    reason to lose a run.

    Args:
        console: the stream that stays visible; it is never closed.
        path: the file to append to; its folder is made.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, console: TextIO, path: Path) -> None:
        self.console = console
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO | None = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise unwritable(f"the log {path}", error) from error

    def write(self, text: str) -> int:
        """Write to both; gives the number of characters."""
        self._on_file(lambda file: file.write(text))
        return self.console.write(text)

    def flush(self) -> None:
        """Flush both."""
        self._on_file(lambda file: file.flush())
        self.console.flush()

    def close(self) -> None:
        """Close the file; the console stays open."""
        self._on_file(lambda file: file.close())

    def _on_file(self, act: Callable[[TextIO], object]) -> None:
        if self._file is None:
            return
        try:
            act(self._file)
        # A file whose last bytes had no room may raise a ValueError when it is closed.
        except (OSError, ValueError) as error:
            with suppress(OSError, ValueError):
                # An open file would try its last bytes again at the end of the process, and fail.
                self._file.close()
            self._file = None
            reason = error.strerror if isinstance(error, OSError) else error
            self.console.write(f"the log {self.path} goes no further: {reason}\n")

    def isatty(self) -> bool:
        """False, since colours and cursor moves would end up in the file."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.console, name)


def setup_logger(output: str | None = None) -> None:
    """Copy standard output to a log file from here on; a resumed run appends to its file.

    A second call moves the copy to the new file. Log handlers made before keep their stream, so make them afterwards.

    Args:
        output: the run's folder, which gets `log.txt`, or a file ending in `.txt` or `.log`. Without it nothing
            happens.

    Raises:
        InputError: the file cannot be written.
    """
    if not output:
        return
    path = Path(output) if output.endswith((".txt", ".log")) else Path(output) / "log.txt"
    console: Any = sys.stdout
    if isinstance(console, Tee):
        console.close()
        console = console.console
    sys.stdout = cast(TextIO, Tee(console, path))
