"""The embedding cache: where it is, and the content hashes by which it knows files and texts. N: files.

<cache>/files.sqlite  what the content hash of a file was when it had this size and mtime
<cache>/<model>/      the embeddings of one model, see store.py
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from lare_dassl.errors import InputError
from lare_dassl.io.files import make_folder
from lare_dassl.io.locks import only_one
from lare_dassl.io.sha256 import file_sha256

from .hashing import hash_files
from .keys import KEY_BYTES, keys_from_hex

logger = logging.getLogger(__name__)

# Files hashed between two savings of what they gave.
CHUNK = 8192
DEFAULT_FOLDER = "~/.cache/lare_dassl"
SEAL_BYTES = 16
# What sqlite says where the table is no worse than before: no permission, a lock, a failing or full disk, no folder.
NOT_DAMAGE = (
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
)


def cache_folder(configured: str) -> Path:
    """The cache's folder: the configured one, else $LARE_DASSL_CACHE, else ~/.cache/lare_dassl; made where needed.

    Raises:
        InputError: it cannot be written to.
    """
    folder = Path(configured or os.environ.get("LARE_DASSL_CACHE", DEFAULT_FOLDER)).expanduser()
    return make_folder(folder, "EMBEDDINGS.CACHE_DIR")


def text_key(text: str) -> str:
    """The key of a text; no image has it."""
    # The first word names the way of encoding: "text" alone let the last bits depend on the texts encoded with it.
    return hashlib.sha256(b"text in filled batches\0" + text.encode()).hexdigest()


class FileHashes:
    """Content hashes of files; a file is read again only when its size or mtime has changed.

    Args:
        folder: of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "files.sqlite"

    def __call__(self, paths: Sequence[Path]) -> dict[Path, str]:
        """The sha256 of each file; files that cannot be read are left out.

        Raises:
            InputError: the table of known hashes cannot be opened or written.
        """
        stats = {path: status for path in paths if (status := _stat(path)) is not None}
        with self._refusals_told():
            try:
                return self._look_up(stats)
            # In the second case the damage is in the words of an error.
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not _is_fault_of_file(error):
                    raise
            with only_one(self.path.with_suffix(".lock"), f"mends {self.path} (EMBEDDINGS.CACHE_DIR)"):
                return self._look_up_mended(stats)

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

    @contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"cannot use {self.path} (EMBEDDINGS.CACHE_DIR): {error}; mend that and run again, what is done is kept"
            ) from error

    def _look_up_mended(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        try:
            # Another process may have mended it just now.
            return self._look_up(stats)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if _is_no_damage(error):
                raise
            # The table only saves time: a damaged one is begun anew.
            logger.warning("%s is damaged (%s) and is begun anew", self.path, error)
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)
            return self._look_up(stats)

    def _look_up(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        with closing(_connect(self.path)) as connection, connection:
            hashes = _known_hashes(connection, stats)
            unknown = [path for path in stats if path not in hashes]
            digests = zip(unknown, hash_files(unknown, _try_hash), strict=True)
            fresh = {path: digest for path, digest in digests if digest}
            places = {path: _place(path, stats[path]) for path in fresh}
            rows = [(*place, fresh[path], _seal(*place, fresh[path].encode())) for path, place in places.items()]
            connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", rows)
        return hashes | fresh


def _is_no_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) and (code is None or code & 0xFF in NOT_DAMAGE)


def _is_fault_of_file(error: Exception) -> bool:
    """Whether the file itself is damaged, or was taken away by another process that mends it."""
    moved = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
    return not _is_no_damage(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in moved


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    # A damaged text is no text; the seal tells.
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
    """What a file is known by: its path, size and mtime."""
    return os.fsencode(path.absolute()), *status


def _seal(path: bytes, size: int, mtime: int, digest: bytes) -> bytes:
    """The checksum of a row, which sqlite does not keep: with a wrong hash a file would get another's embedding."""
    return hashlib.sha256(b"%d %d %b " % (size, mtime, digest) + path).digest()[:SEAL_BYTES]


def _stat(path: Path) -> tuple[int, int] | None:
    """Size and mtime of a file; None of what is none, such as a pipe, which would be waited for."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _try_hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
