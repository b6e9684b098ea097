"""Finding images in folders: one walk that every folder-shaped dataset shares."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from lare_dassl.errors import InputError, unreadable
from lare_dassl.io.files import composed

from .sources import how_to_get

# Categories of Unicode: marks that steer a terminal, and bytes that are no UTF-8.
NO_TEXT = ("Cc", "Cs")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def dataset_root(cfg: Any, holds: str, origin: str = "") -> Path:
    """The absolute path of DATASET.ROOT, a folder; `~` is the home folder.

    Args:
        cfg: the config.
        holds: contents that the folder should have, for the messages.
        origin: entry of `sources.SOURCES` that says where to get it; "" for none.

    Raises:
        InputError: DATASET.ROOT is empty, missing or not a folder.
    """
    given, remedy = str(cfg.DATASET.ROOT), f"give the folder that holds {holds} with --root{also_get(origin)}"
    if not given:
        raise InputError(f"DATASET.ROOT is empty: {remedy}")
    root = Path(given).expanduser().absolute()
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"DATASET.ROOT '{root}' {state}: {remedy}")
    return root


def also_get(origin: str) -> str:
    """The end of a message about missing files: where to get them; "" for an origin that has no entry."""
    how = how_to_get(origin)
    return f"; {how}" if how else ""


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts 'class2' before 'class10' and upper beside lower case."""
    name = composed(name)
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)], name


def folders_in(folder: Path) -> list[str]:
    """Names of the folders right in a folder, in natural order; hidden ones are left out, links are followed.

    Raises:
        InputError: the folder cannot be read, or the name of a folder in it is no text.
    """
    return sorted((_text_name(entry) for entry in _entries(folder) if _is_folder(entry)), key=natural_key)


def images_in(folder: Path) -> list[str]:
    """Paths of all images below a folder, relative to it, with forward slashes, in natural order.

    Hidden files and folders are left out. Links are followed; a folder that is reached twice is read once, so that a
    circle of links ends. Images that are links to nothing, or pipes, are among them; the caller reports them.

    Raises:
        InputError: a folder cannot be read.
    """
    found: list[str] = []
    _collect(folder, "", found, set())
    return found


def _collect(folder: Path, prefix: str, found: list[str], visited: set[tuple[int, int]]) -> None:
    status = _status(folder)
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in sorted(_entries(folder), key=lambda entry: natural_key(entry.name)):
        if _is_folder(entry):
            _collect(folder / entry.name, f"{prefix}{entry.name}/", found, visited)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            found.append(prefix + entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def _text_name(entry: os.DirEntry[str]) -> str:
    """The name of a folder, checked: it names a domain or class in prompts, tables and files."""
    if any(unicodedata.category(mark) in NO_TEXT for mark in entry.name):
        raise InputError(f"the name of the folder '{entry.path}' holds bytes or marks that are no text: rename it")
    return entry.name


def _status(folder: Path) -> os.stat_result:
    try:
        return folder.stat()
    except OSError as error:
        raise unreadable(f"folder '{folder}'", error) from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise unreadable(f"folder '{folder}'", error) from error
