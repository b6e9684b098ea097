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


def judge(kind: str, code: int, errors: str) -> str:
    """Whether a call has run or has been refused, in one line; anything else fails the test."""
    if code == 2:
        assert errors.startswith("error: ") and errors.endswith("\n"), errors
        assert len(errors.splitlines()) == 1, errors
    else:
        assert code == 0, errors
    outcome = "refused in one line" if code else "ran"
    OUTCOMES[kind, outcome] += 1
    return outcome
