"""Errors that are the user's to mend, told in one line."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Characters of a user's value that a message repeats.
LONGEST_SHOWN = 200


class InputError(ValueError):
    """A mistake in what the user gave: a file, a key or a value.

    The message is one line that names it and says what to do. The command-line tools print it and exit with code 2.

    >>> raise InputError("--seeds 0: give at least 1")
    Traceback (most recent call last):
    lare_dassl.errors.InputError: --seeds 0: give at least 1
    """


class UnwritableError(InputError):
    """A file or folder cannot be written; see unwritable."""


class UnreadableError(InputError):
    """Some images cannot be read; all others have been dealt with."""


class ClusterError(InputError):
    """A cluster cannot be used, or no longer; what was done on it is kept."""


FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def unwritable(what: object, error: OSError, verb: str = "write") -> UnwritableError:
    """The error for a file or folder that cannot be written: why, and what to do where that is known."""
    advice = ""
    if error.errno in FULL:
        advice = ": make room there and run again, what is done is kept"
    elif error.errno in FORBIDDEN:
        advice = ": see to it that you may write there and run again, or give another folder"
    return UnwritableError(f"cannot {verb} {what}: {error.strerror or error}{advice}")


def unreadable(what: object, error: OSError) -> InputError:
    """The error for a file or folder that cannot be read."""
    return InputError(f"cannot read {what}: {error.strerror}; check its permissions")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: what the name stands for, as the user would say it ("trainer", "config key").
        name: the name as the user gave it.
        known: all names that would have been accepted.
    """
    choices = sorted(known)
    lowered = {choice.lower(): choice for choice in choices}
    # Of a very long name the beginning says what was meant, and the comparison takes the square of the length.
    nearest = difflib.get_close_matches(name.lower()[:LONGEST_SHOWN], lowered, n=1, cutoff=0.4)
    hint = f"did you mean '{lowered[nearest[0]]}'? " if nearest else ""
    most = 12 if nearest else 40
    listed = ", ".join(choices[:most]) + (", ..." if len(choices) > most else "")
    return InputError(f"unknown {kind} '{shortened(name)}': {hint}known: {listed}")


def shown(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):
        return f"a very large {type(value).__name__}"


def shortened(text: str) -> str:
    """A text that fits into a message."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def exit_code(command: Callable[[], None]) -> int:
    """Run a command and give its exit code.

    0 when it succeeds; 2, with one line on standard error, when the user's input is at fault, or when the disk is full
    or may not be written to; 130 on Ctrl-C.
    """
    try:
        command()
    except InputError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 2
    except OSError as error:
        if error.errno not in FULL | FORBIDDEN:
            raise
        sys.stderr.write(f"error: {unwritable(error.filename or 'a file', error, verb='use')}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from what is done\n")
        return 130
    return 0


def printable(text: str) -> str:
    """A text in one line without anything that steers: such characters are written as in a Python string."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def printable_lines(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(printable, text.split("\n")))


def all_printable(content: Any) -> Any:
    """The same of each text in dictionaries, lists and tuples."""
    if isinstance(content, dict):
        return {all_printable(key): all_printable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(all_printable, content))
    return printable(content) if isinstance(content, str) else content
