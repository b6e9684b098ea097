"""An index from keys to the shards and rows of their embeddings, of 40 bytes a key, and its file.

A key is the sha256 of an image file's bytes or of a text; many keys are an array uint8 (N, 32). S: shards.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from lare_dassl.io.files import replaced

logger = logging.getLogger(__name__)

KEY_BYTES = 32


def keys_from_hex(digests: Sequence[str]) -> np.ndarray:
    """Keys, uint8 (N, 32), from their hexadecimal form."""
    return np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(-1, KEY_BYTES)


def sortable(keys: np.ndarray) -> np.ndarray:
    """Keys, uint8 (N, 32), as byte strings (N,), which numpy can sort and compare."""
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").ravel()


@dataclass(frozen=True)
class Shard:
    """A shard's file with its size and mtime, which change if it is written to."""

    name: str
    size: int
    mtime_ns: int

    @classmethod
    def at(cls, path: Path) -> Shard | None:
        """The shard at a path; None where another run has just removed it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        return cls(path.name, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class KeyIndex:
    """Keys with their shards and rows, sorted by key; a key that is in two shards is there twice.

    Attributes:
        key: as byte strings, S32 (N,), ascending.
        shard: numbers of their shards, int32 (N,).
        row: their rows in these, int32 (N,).
    """

    key: np.ndarray
    shard: np.ndarray
    row: np.ndarray

    @classmethod
    def of_rows(cls, keys: np.ndarray, shard: int) -> KeyIndex:
        """The index of one shard, whose rows have the keys `keys`, uint8 (n, 32)."""
        rows = np.arange(len(keys), dtype=np.int32)
        return cls.merged([cls(sortable(keys), np.full(len(keys), shard, dtype=np.int32), rows)])

    @classmethod
    def merged(cls, parts: Sequence[KeyIndex]) -> KeyIndex:
        """One index of several."""
        key = np.concatenate([part.key for part in parts])
        order = np.argsort(key, kind="stable")
        shard = np.concatenate([part.shard for part in parts])
        row = np.concatenate([part.row for part in parts])
        return cls(key[order], shard[order], row[order])

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Places of keys, uint8 (M, 32), in this index: int64 (M,), -1 for keys that are not in it."""
        if not len(self.key):
            return np.full(len(keys), -1)
        sought = sortable(keys)
        place = np.searchsorted(self.key, sought).clip(max=len(self.key) - 1)
        return np.where(self.key[place] == sought, place, -1)

    def of_shards(self, stay: np.ndarray) -> KeyIndex:
        """The part of the index in the shards that stay, bool (S,), which are numbered anew."""
        number = np.cumsum(stay, dtype=np.int32) - 1
        rows = stay[self.shard]
        return KeyIndex(self.key[rows], number[self.shard[rows]], self.row[rows])


EMPTY = KeyIndex.of_rows(np.empty((0, KEY_BYTES), dtype=np.uint8), shard=0)


def write_index(path: Path, shards: Sequence[Shard], index: KeyIndex) -> None:
    """Write an index file, all or nothing: the sha256 of the arrays, and the arrays as safetensors.

    Raises:
        InputError: the file cannot be written.
    """
    names = json.dumps([[shard.name, shard.size, shard.mtime_ns] for shard in shards]).encode()
    key = index.key.view(np.uint8).reshape(-1, KEY_BYTES)
    arrays = {"key": key, "shard": index.shard, "row": index.row, "shards": np.frombuffer(names, dtype=np.uint8)}
    content = save(arrays)
    with replaced(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_index(path: Path) -> tuple[list[Shard], KeyIndex]:
    """The shards and the index in a file; empty if it is absent or damaged, since an index only saves time."""
    try:
        with path.open("rb") as file:
            digest, content = file.read(KEY_BYTES), file.read()
    except FileNotFoundError:
        return [], EMPTY
    if hashlib.sha256(content).digest() != digest:
        logger.warning("%s is damaged and is made anew", path)
        return [], EMPTY
    arrays = load(content)
    shards = [Shard(*entry) for entry in json.loads(arrays["shards"].tobytes())]
    return shards, KeyIndex(sortable(arrays["key"]), arrays["shard"], arrays["row"])
