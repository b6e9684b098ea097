"""The embedding cache: where it is, and the content hashes by which it knows files and texts. N: files.

<cache>/files.sqlite  what the content hash of a file was when it had this size and mtime
<cache>/<model>/      the embeddings of one model, see store.py
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import make_folder
from .key_index import KEY_BYTES, keys_from_hex

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


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_key(text: str) -> str:
    """The key of a text; no image has it."""
    return hashlib.sha256(b"text\0" + text.encode()).hexdigest()


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
        stats = {path: stat for path in paths if (stat := _stat(path)) is not None}
        try:
            return self._look_up(stats)
        # In the second case the damage is in the words of an error.
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if _is_no_damage(error):
                raise InputError(f"cannot use {self.path} (EMBEDDINGS.CACHE_DIR): {error}") from error
            # The table only saves time: a damaged one is begun anew.
            logger.warning("%s is damaged (%s) and is begun anew", self.path, error)
            self.path.unlink()
            return self._look_up(stats)

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

    def _look_up(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        with closing(_connect(self.path)) as connection, connection:
            hashes = _known_hashes(connection, stats)
            unknown = [path for path in stats if path not in hashes]
            with ThreadPoolExecutor() as pool:
                digests = zip(unknown, pool.map(_try_hash, unknown), strict=True)
                fresh = {path: digest for path, digest in digests if digest}
            places = {path: _place(path, stats[path]) for path in fresh}
            rows = [(*place, fresh[path], _seal(*place, fresh[path].encode())) for path, place in places.items()]
            connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", rows)
        return hashes | fresh


def _is_no_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.OperationalError) and (code is None or code & 0xFF in NOT_DAMAGE)


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
    for path, stat in stats.items():
        place = _place(path, stat)
        row = connection.execute(query, place).fetchone()
        if row is not None and isinstance(row[0], bytes) and row[1] == _seal(*place, row[0]):
            known[path] = row[0].decode()
    return known


def _place(path: Path, stat: tuple[int, int]) -> tuple[bytes, int, int]:
    """What a file is known by: its path, size and mtime."""
    return os.fsencode(path.absolute()), *stat


def _seal(path: bytes, size: int, mtime: int, digest: bytes) -> bytes:
    """The checksum of a row, which sqlite does not keep: with a wrong hash a file would get another's embedding."""
    return hashlib.sha256(b"%d %d %b " % (size, mtime, digest) + path).digest()[:SEAL_BYTES]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _try_hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
