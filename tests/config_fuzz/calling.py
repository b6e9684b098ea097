"""Calling a tool in this process as a shell would, and judging what came of it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from tests.config_fuzz.conftest import OUTCOMES
from tests.helpers import kept_process


def call(main: Callable[[], int], *words: object) -> tuple[int, str]:
    """Run a tool with these words; gives its exit code and what it wrote on standard error."""
    errors = io.StringIO()
    argv = mock.patch.object(sys, "argv", ["tool", *map(str, words)])
    with kept_process(), argv, redirect_stderr(errors), redirect_stdout(io.StringIO()):
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return code, errors.getvalue()


def judge(kind: str, code: int, errors: str, *beside: str) -> bool:
    """True where a call has run, False where it was refused in one line; anything else fails the test.

    Lines that begin with one of `beside` may stand beside that line.
    """
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line.strip() and not line.startswith(beside)]
    if code == 2:
        assert len(lines) == 1 and lines[0].startswith("error: ") and errors.endswith("\n"), errors
    else:
        assert code == 0, errors
    OUTCOMES[kind, "refused in one line" if code else "ran"] += 1
    return code == 0
