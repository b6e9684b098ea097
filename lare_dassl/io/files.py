"""Writing files and folders so that a kill or a full disk never leaves half of one behind."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lare_dassl.errors import InputError, shown, unwritable

from .leftovers import beside, remove_leftovers

# What file systems take between two slashes, and in all.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def composed(name: str) -> str:
    """A file's name with its accents composed; some file systems keep them apart, and it must be the same name."""
    return unicodedata.normalize("NFC", name)


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
    """Make a folder that can be written to, and remove what killed processes left half-written in it.

    Args:
        path: the folder; parents are made too.
        purpose: the key or flag that names it, for the message.

    Raises:
        UnwritableError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = beside(path / "write-test")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(f"to {path} ({purpose})", error) from error
    remove_leftovers(path)
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

    By then it is on the disk, so that no crash of the machine leaves a file that is empty. What killed processes left
    half-written beside it is removed.

    Raises:
        UnwritableError: the file cannot be written.
    """
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Have a file on the disk; a network drive may only now say that there is no room for it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`, which is there for as long as the block runs."""
    folder = beside(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        UnwritableError: a file in it cannot be written.
    """
    try:
        with scratch_folder(target) as temporary:
            yield temporary
            (temporary / marker.name).write_text(marker.text, encoding="utf-8")
            _put_in_place(temporary, target, marker)
    except OSError as error:
        raise unwritable(target, error) from error


def _put_in_place(temporary: Path, target: Path, marker: Marker) -> None:
    if target.is_dir() and not marker.is_in(target):
        _put_aside(target, marker)
    try:
        temporary.rename(target)
    except OSError:
        if not marker.is_in(target):
            raise


def _put_aside(target: Path, marker: Marker) -> None:
    """Remove a folder that is not whole; one that another process has made whole this moment stays."""
    aside = beside(target)
    with suppress(FileNotFoundError):
        target.rename(aside)
        if marker.is_in(aside):
            aside.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
