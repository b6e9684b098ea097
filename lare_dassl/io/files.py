"""Files and folders that appear whole or not at all, and checks of names that users give."""

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

# Longest name between two slashes, and longest path, that file systems take.
LONGEST_NAME, LONGEST_PATH = 255, 4096


def composed(name: str) -> str:
    """Return a file's name with composed accents (NFC), since some file systems store them decomposed.

    >>> composed("e\u0301.png") == "\u00e9.png"
    True
    """
    return unicodedata.normalize("NFC", name)


def fault_of_words(text: str) -> str:
    """Say why a text cannot be a name or a prompt; "" where it can."""
    return "" if _encodable(text, "strict") else f"must be text in UTF-8, not {shown(text)}"


def fault_of_path(text: str) -> str:
    """Say why a text cannot be a path; "" where it can.

    On Linux a path may hold any bytes; Python gives those outside UTF-8 as lone surrogates.

    >>> fault_of_path("a\\0b")
    "must be text without null and half characters, not 'a\\\\x00b'"
    """
    if "\0" in text or not _encodable(text, "surrogateescape"):
        return f"must be text without null and half characters, not {shown(text)}"
    longest = max(len(os.fsencode(part)) for part in text.split("/"))
    if longest > LONGEST_NAME or len(os.fsencode(text)) > LONGEST_PATH:
        return f"must have at most {LONGEST_PATH} bytes, and {LONGEST_NAME} between two slashes, not {shown(text)}"
    if text.startswith("~"):
        try:
            Path(text).expanduser()
        except RuntimeError:
            return f"names the home of a user who is not known here: {shown(text)}"
    return ""


def check_path(text: str, flag: str) -> None:
    """Refuse a text, given to a flag, that cannot be a path.

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
    """Make a folder, check that it can be written to, and remove half-written files of killed processes.

    Args:
        path: the folder; parents are made too.
        purpose: the key or flag that names the folder, for the message.

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
    """Refuse the name of an output file, given to a flag, that cannot be written, before the work begins.

    Raises:
        InputError: the name is empty, a folder, or no path (see `fault_of_path`).
    """
    check_path(name, flag)
    if not name or Path(name).is_dir():
        raise InputError(f"{flag} '{name}' is {'a folder' if name else 'empty'}: give the name of a file")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it replaces `path` when the block ends without error.

    The file is flushed to the disk first, so a crash of the machine leaves no empty file. Half-written files of killed
    processes in the same folder are removed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replaced(Path(folder) / "record.json") as temporary:
    ...         _ = temporary.write_text("{}")
    ...     [file.name for file in Path(folder).iterdir()]
    ['record.json']

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
    """Flush a file to the disk; a network drive may report a lack of room only here."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` that is removed when the block ends."""
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
    """A file whose presence in a folder says that the folder is complete.

    Attributes:
        name: of the file.
        text: its content; a folder whose marker has another content must be filled again.
    """

    name: str
    text: str

    def is_in(self, folder: Path) -> bool:
        """True where a folder has this marker with this content."""
        file = folder / self.name
        return file.is_file() and file.read_bytes() == self.text.encode()


@contextmanager
def filled_folder(target: Path, marker: Marker) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; it becomes `target`, with its marker, when the block ends.

    On an error nothing is left. Where another process has filled `target` meanwhile, its folder stays.

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
    """Remove an incomplete folder; one that another process completes at this moment stays."""
    aside = beside(target)
    with suppress(FileNotFoundError):
        target.rename(aside)
        if marker.is_in(aside):
            aside.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
