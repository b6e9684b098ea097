"""The cache's folder, and the content hashes of files. N: files.

<cache>/files.sqlite  the content hash of each file by its path, size and mtime
<cache>/<model>/      the embeddings of one model, see store.py
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from lare_dassl.errors import InputError
from lare_dassl.io.files import make_folder
from lare_dassl.io.locks import only_one
from lare_dassl.io.sha256 import file_sha256

from .keys import KEY_BYTES, keys_from_hex

logger = logging.getLogger(__name__)

# Files hashed between two writes to the table: an interruption loses the hashes of one chunk at most.
CHUNK = 8192
DEFAULT_FOLDER = "~/.cache/lare_dassl"
SEAL_BYTES = 16
# A run that hashes a chunk of large files holds the table for longer than the five seconds that sqlite waits by itself.
WAIT_SECONDS = 60
# Errors of sqlite that leave the table intact: no permission, a lock, a failing or full disk, no folder.
NOT_DAMAGE = (
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
)
# Errors that sqlite raises when another process has just replaced the open table.
REPLACED = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


def cache_folder(configured: str) -> Path:
    """The cache's folder: the configured one, else $LARE_DASSL_CACHE, else ~/.cache/lare_dassl; created if missing.

    Raises:
        InputError: it cannot be written to.
    """
    folder = Path(configured or os.environ.get("LARE_DASSL_CACHE", DEFAULT_FOLDER)).expanduser()
    return make_folder(folder, "EMBEDDINGS.CACHE_DIR")


def text_key(text: str) -> str:
    """The key of a text; no image has the same key."""
    # The prefix also names the way of encoding: texts cached under the prefix "text" differ in their last bits.
    return hashlib.sha256(b"text in filled batches\0" + text.encode()).hexdigest()


class FileHashes:
    """Content hashes of files; a file is read again only when its size or mtime has changed.

    Args:
        folder: the cache's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "files.sqlite"

    def __call__(self, paths: Sequence[Path]) -> dict[Path, str]:
        """The sha256 of each file; files that cannot be read are left out.

        Raises:
            InputError: the table of known hashes cannot be opened or written.
        """
        stats = {path: status for path in paths if (status := _stat(path)) is not None}
        try:
            return self._look_up_or_mend(stats)
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"cannot use {self.path} (EMBEDDINGS.CACHE_DIR): {error}; mend that and run again, what is done is kept"
            ) from error

    def keys(self, paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
        """The keys of many files, uint8 (N, 32), and which files could be read, bool (N,).

        Raises:
            InputError: the table of known hashes cannot be opened or written.
        """
        keys, found = np.zeros((len(paths), KEY_BYTES), dtype=np.uint8), np.zeros(len(paths), dtype=bool)
        for start in range(0, len(paths), CHUNK):
            chunk = [Path(path) for path in paths[start : start + CHUNK]]
            hashes = self(chunk)
            places = [start + place for place, path in enumerate(chunk) if path in hashes]
            keys[places] = keys_from_hex([hashes[path] for path in chunk if path in hashes])
            found[places] = True
        return keys, found

    def _look_up_or_mend(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        try:
            return self._look_up(stats)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error) and _code(error) not in REPLACED:
                raise
        with only_one(self.path.with_suffix(".lock"), f"mends {self.path} (EMBEDDINGS.CACHE_DIR)"):
            try:
                # Another process may have mended it just now.
                return self._look_up(stats)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise
                # The table only saves time, so a damaged one is created anew.
                logger.warning("%s is damaged (%s) and is begun anew", self.path, error)
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)
            return self._look_up(stats)

    def _look_up(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        with closing(_connect(self.path)) as connection, connection:
            hashes = _known_hashes(connection, stats)
            fresh = hash_files([path for path in stats if path not in hashes])
            places = {path: _place(path, stats[path]) for path in fresh}
            rows = [(*place, fresh[path], _seal(*place, fresh[path].encode())) for path, place in places.items()]
            connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", rows)
        return hashes | fresh


def hash_files(paths: Sequence[Path]) -> dict[Path, str]:
    """The sha256 of each file, read in threads: hashing releases Python's lock. Unreadable files are left out."""
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_try_hash, paths))
    return {path: digest for path, digest in zip(paths, digests, strict=True) if digest}


def _code(error: Exception) -> int:
    """The primary result code of an error of sqlite; 0 where it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_damage(error: Exception) -> bool:
    """Whether an error shows that the table's content is damaged; a message of sqlite may itself be no text then."""
    return not isinstance(error, sqlite3.OperationalError) or _code(error) not in (0, *NOT_DAMAGE)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    # A damaged row may hold bytes that are no text; its seal shows the damage.
    connection.text_factory = bytes
    connection.execute(
        "CREATE TABLE IF NOT EXISTS known "
        "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, seal BLOB)"
    )
    return connection


def _known_hashes(connection: sqlite3.Connection, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
    known = {}
    query = "SELECT sha256, seal FROM known WHERE path = ? AND size = ? AND mtime_ns = ?"
    for path, status in stats.items():
        place = _place(path, status)
        row = connection.execute(query, place).fetchone()
        if row is not None and isinstance(row[0], bytes) and row[1] == _seal(*place, row[0]):
            known[path] = row[0].decode()
    return known


def _place(path: Path, status: tuple[int, int]) -> tuple[bytes, int, int]:
    """The columns that identify a file: its absolute path, size and mtime."""
    return os.fsencode(path.absolute()), *status


def _seal(path: bytes, size: int, mtime: int, digest: bytes) -> bytes:
    """A checksum of a row, which sqlite lacks: a file with a wrong hash would get another file's embedding."""
    return hashlib.sha256(b"%d %d %b " % (size, mtime, digest) + path).digest()[:SEAL_BYTES]


def _stat(path: Path) -> tuple[int, int] | None:
    """Size and mtime of a regular file; None for anything else, such as a pipe, on which reading would block."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _try_hash(path: Path) -> str:
    """The sha256 of a file; "" where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""
