"""The embedding cache: each image and text is encoded once per (weights, architecture, preprocessing, precision).

    <cache>/files.sqlite                what the content hash of a file was when it had this size and mtime
    <cache>/<model>/model.json          the model's width and logit scale, and whether its precision passed the guard
    <cache>/<model>/<hash>.safetensors  a shard: `key` uint8 (n, 32) and `embedding` float32 (n, D)

<model> is the fingerprint of VLMSource; a key is the sha256 of an image file's bytes or of a text. A shard is named by
the sha256 of its own bytes, so a damaged one is recognised. Shards are written whole or not at all, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..errors import InputError
from ..files import make_folder, replaced

logger = logging.getLogger(__name__)

KEY_BYTES = 32
DEFAULT_FOLDER = "~/.cache/lare_dassl"


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
        except sqlite3.OperationalError as error:
            raise InputError(f"cannot use {self.path} (EMBEDDINGS.CACHE_DIR): {error}") from error
        except sqlite3.DatabaseError as error:
            # The table only saves time: a damaged one is begun anew.
            logger.warning("%s is damaged (%s) and is begun anew", self.path, error)
            self.path.unlink()
            return self._look_up(stats)

    def _look_up(self, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
        with closing(_connect(self.path)) as connection, connection:
            hashes = _known_hashes(connection, stats)
            unknown = [path for path in stats if path not in hashes]
            with ThreadPoolExecutor() as pool:
                digests = zip(unknown, pool.map(_try_hash, unknown), strict=True)
                fresh = {path: digest for path, digest in digests if digest}
            rows = [(os.fsencode(path.absolute()), *stats[path], digest) for path, digest in fresh.items()]
            connection.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", rows)
        return hashes | fresh


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60)
    connection.execute(
        "CREATE TABLE IF NOT EXISTS file (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
    )
    return connection


def _known_hashes(connection: sqlite3.Connection, stats: dict[Path, tuple[int, int]]) -> dict[Path, str]:
    known = {}
    for path, (size, mtime) in stats.items():
        query = "SELECT sha256 FROM file WHERE path = ? AND size = ? AND mtime_ns = ?"
        row = connection.execute(query, (os.fsencode(path.absolute()), size, mtime)).fetchone()
        if row is not None:
            known[path] = row[0]
    return known


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


class EmbeddingStore:
    """The cached embeddings of one model.

    Args:
        folder: of the cache.
        fingerprint: of the model, see VLMSource.fingerprint.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = make_folder(folder / fingerprint[:32], "EMBEDDINGS.CACHE_DIR")
        self._place: dict[str, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._index(path)

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no embedding yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._place]

    def add(self, keys: Sequence[str], embedding: Tensor) -> None:
        """Keep embeddings, float32 (n, D), under n keys, as one shard.

        Raises:
            InputError: the shard cannot be written.
        """
        raw_keys = torch.frombuffer(bytearray(bytes.fromhex("".join(keys))), dtype=torch.uint8)
        content = save({"key": raw_keys.view(-1, KEY_BYTES), "embedding": embedding.contiguous()})
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        with replaced(path) as temporary:
            temporary.write_bytes(content)
        self._place.update({key: (path, row) for row, key in enumerate(keys)})

    def gather(self, keys: Sequence[str]) -> Tensor:
        """The embeddings of keys that are all present: float32 (N, D)."""
        shards: dict[Path, tuple[list[int], list[int]]] = {}
        for position, key in enumerate(keys):
            path, row = self._place[key]
            positions, rows = shards.setdefault(path, ([], []))
            positions.append(position)
            rows.append(row)
        gathered: Tensor | None = None
        for path, (positions, rows) in shards.items():
            embedding = load(path.read_bytes())["embedding"]
            if gathered is None:
                gathered = torch.empty(len(keys), embedding.shape[1])
            gathered[positions] = embedding[rows]
        return torch.empty(0, 0) if gathered is None else gathered

    def facts(self) -> dict[str, Any]:
        """What `remember` has noted of the model; empty before."""
        try:
            facts = json.loads((self.folder / "model.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def remember(self, **facts: Any) -> None:
        """Note facts of the model, so that a later run need not load it."""
        with replaced(self.folder / "model.json") as temporary:
            temporary.write_text(json.dumps(self.facts() | facts, indent=1), encoding="utf-8")

    def _index(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            # Another run has just found it damaged and removed it.
            return
        if hashlib.sha256(content).hexdigest()[:32] != path.stem:
            self._drop(path, "its content does not match its name")
            return
        try:
            keys = load(content)["key"]
        except (SafetensorError, KeyError) as error:
            self._drop(path, str(error))
            return
        digits = keys.numpy().tobytes().hex()
        width = 2 * KEY_BYTES
        self._place.update({digits[row * width : (row + 1) * width]: (path, row) for row in range(len(keys))})

    def _drop(self, path: Path, reason: str) -> None:
        logger.warning("cache shard %s is damaged (%s): removed, its images are encoded again", path, reason)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot remove the damaged cache shard {path}: {error.strerror}") from error
