"""Writing files and folders so that a kill or a full disk never leaves half of one behind."""

from __future__ import annotations

import os
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, shown

# What file systems take between two slashes, and in all.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def composed(name: str) -> str:
    """A file's name with its accents composed; some file systems keep them apart, and it must be the same name."""
    return unicodedata.normalize("NFC", name)


def own_mark() -> str:
    """A word for names of temporary files: on a network drive a process of another machine may have the same number."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def fault_of_words(text: str) -> str:
    """What keeps a text from being a name or a prompt; "" for nothing."""
    return "" if _encodable(text, "strict") else f"must be text in UTF-8, not {shown(text)}"


def fault_of_path(text: str) -> str:
    """What keeps a text from being a path, as most single texts of a configuration are; "" for nothing.

    On Linux a path may hold any bytes; those that are no UTF-8 come as half characters.
    """
    if "\0" in text or not _encodable(text, "surrogateescape"):
        return f"must be text without null and half characters, not {shown(text)}"
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > LONGEST_NAME or len(text) > LONGEST_PATH:
        return f"must have at most {LONGEST_PATH} bytes, and {LONGEST_NAME} between two slashes, not {shown(text)}"
    if text.startswith("~"):
        try:
            Path(text).expanduser()
        except RuntimeError:
            return f"names the home of a user who is not known here: {shown(text)}"
    return ""


def check_path(text: str, flag: str) -> None:
    """Refuse what cannot be a path.

    Args:
        text: as the user gave it.
        flag: that names it, for the message.

    Raises:
        InputError: see `fault_of_path`.
    """
    fault = fault_of_path(text)
    if fault:
        raise InputError(f"{flag} {fault}")


def _encodable(text: str, errors: str) -> bool:
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return True


def make_folder(path: Path, purpose: str) -> Path:
    """Make a folder that can be written to.

    Args:
        path: the folder; parents are made too.
        purpose: the key or flag that names it, for the message.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{own_mark()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write to {path} ({purpose}): {error.strerror}") from error
    return path


def check_file(name: str, flag: str) -> None:
    """Refuse what cannot be the name of a file to write, before the work that it is to hold.

    Args:
        name: as the user gave it.
        flag: that names it, for the message.

    Raises:
        InputError: it is empty, the name of a folder, or no path (see `fault_of_path`).
    """
    check_path(name, flag)
    if not name or Path(name).is_dir():
        raise InputError(f"{flag} '{name}' is {'a folder' if name else 'empty'}: give the name of a file")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it takes the place of `path` once the block ends without error.

    Raises:
        InputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{own_mark()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@dataclass(frozen=True)
class Marker:
    """A file that tells, lying in a folder, that the folder is whole.

    Attributes:
        name: of the file.
        text: what it says; a folder whose marker says anything else is to be filled anew.
    """

    name: str
    text: str

    def is_in(self, folder: Path) -> bool:
        """Whether a folder is whole, and the one that is meant."""
        file = folder / self.name
        return file.is_file() and file.read_bytes() == self.text.encode()


@contextmanager
def filled_folder(target: Path, marker: Marker) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; it takes the place of `target` once the block ends without error.

    It then holds the marker. Where another process was quicker, what it put there stays.

    Raises:
        InputError: a file in it cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{own_mark()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        (temporary / marker.name).write_text(marker.text, encoding="utf-8")
        _put_in_place(temporary, target, marker)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path, marker: Marker) -> None:
    if marker.is_in(target):
        return
    if target.exists():
        shutil.rmtree(target)
    try:
        temporary.rename(target)
    except OSError:
        if not marker.is_in(target):
            raise
