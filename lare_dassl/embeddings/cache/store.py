"""The cached embeddings of one model: each image and text is encoded once. D: embedding width.

    <cache>/<model>/model.json          the model's width and logit scale, and the verdicts of the precision guard
    <cache>/<model>/<hash>.safetensors  a shard: `key` uint8 (n, 32) and `embedding` float32 (n, D), metadata `folder`
    <cache>/<model>/shards.index        the keys of all shards, so that a start need not read them

<model> is the fingerprint of VLMSource; a key is the sha256 of an image file's bytes or of a text. A shard's name is
the sha256 of its bytes, which shows damage; its metadata name its folder, which shows a shard of another model.
model.json has a checksum and the name of its folder. Shards are written whole or not at all, and never changed. A shard
that is not in the index with this size and mtime is checked on opening, any other before its first use.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lare_dassl.errors import InputError
from lare_dassl.io.files import make_folder, replaced
from lare_dassl.io.json_files import opened, read_json, sealed
from lare_dassl.io.sha256 import file_sha256

from .keys import KEY_BYTES, KeyIndex, Shard, keys_from_hex, read_index, write_index

logger = logging.getLogger(__name__)

Keys = Sequence[str] | np.ndarray
"""Hexadecimal digests, or, where they are many, an array uint8 (N, 32)."""


class GoneError(InputError):
    """Embeddings are no longer there: another process has removed their shard as damaged."""


class EmbeddingStore:
    """The cached embeddings of one model; other processes may add to the same folder.

    Args:
        folder: of the cache.
        fingerprint: of the model, see VLMSource.fingerprint.

    Raises:
        InputError: the folder cannot be written to, or a damaged shard in it not be removed.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = make_folder(folder / fingerprint[:32], "EMBEDDINGS.CACHE_DIR")
        self._index_file = self.folder / "shards.index"
        # Names of the shards that this process has checked.
        self._sound: set[str] = set()
        self._fresh: list[KeyIndex] = []
        self._open()

    def holds(self, keys: Keys) -> np.ndarray:
        """Which keys have an embedding: bool (N,). Their shards are checked first, and damaged ones removed.

        Raises:
            InputError: a damaged shard cannot be removed.
        """
        return self._find(_as_array(keys)) >= 0

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no embedding yet, each once, in order."""
        distinct = list(dict.fromkeys(keys))
        return [key for key, held in zip(distinct, self.holds(distinct), strict=True) if not held]

    def add(self, keys: Keys, embedding: Tensor) -> None:
        """Keep embeddings, float32 (n, D), under n keys, as one shard.

        Raises:
            InputError: the shard cannot be written.
        """
        array = _as_array(keys)
        tensors = {"key": torch.tensor(array), "embedding": embedding.contiguous()}
        content = save(tensors, {"folder": self.folder.name})
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        with replaced(path) as temporary:
            temporary.write_bytes(content)
        shard = Shard.at(path)
        if shard is not None and shard not in self._shards:
            self._take_in(shard, array)

    def gather(self, keys: Keys) -> Tensor:
        """The embeddings of keys that are all present: float32 (N, D).

        Raises:
            GoneError: some are not present, or another process has just removed them.
        """
        place = self._find(_as_array(keys))
        if (place < 0).any():
            raise GoneError(f"{(place < 0).sum()} embeddings have gone from {self.folder}: run again")
        numbers, rows = self._index.shard[place], self._index.row[place]
        order = np.argsort(numbers, kind="stable")
        # numpy copies whole rows, an order of magnitude faster than torch's indexing.
        gathered = np.empty((0, 0), dtype=np.float32)
        for positions in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []:
            part = self._read(self._shards[numbers[positions[0]]], rows[positions])
            if not len(gathered):
                gathered = np.empty((len(place), part.shape[1]), dtype=np.float32)
            gathered[positions] = part
        return torch.from_numpy(gathered)

    def facts(self) -> dict[str, Any]:
        """The facts that `remember` has kept of the model; empty if there are none, or if their file is damaged."""
        path = self.folder / "model.json"
        try:
            facts = opened(read_json(path), required=True)
            if facts.pop("folder", "") != self.folder.name:
                raise ValueError("it is not of this model")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s is damaged (%s) and is made anew", path, error)
            return {}
        return facts

    def remember(self, **facts: Any) -> None:
        """Keep facts of the model, so that a later run need not load it; known ones of other names stay."""
        with replaced(self.folder / "model.json") as temporary:
            known = sealed(self.facts() | facts | {"folder": self.folder.name})
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")

    def _open(self) -> None:
        known, index = read_index(self._index_file)
        present = [shard for path in self.folder.glob("*.safetensors") if (shard := Shard.at(path)) is not None]
        there, seen = set(present), set(known)
        stay = np.array([shard in there for shard in known], dtype=bool)
        self._shards = [shard for shard in known if shard in there]
        self._index = index if stay.all() else index.of_shards(stay)
        for shard in sorted(there - seen, key=lambda shard: shard.name):
            if self._is_sound(shard):
                self._index_shard(shard)
        self._settle(changed=not stay.all())

    def _index_shard(self, shard: Shard) -> None:
        try:
            self._take_in(shard, _keys_in(self.folder / shard.name))
        except OSError as error:
            self._pass_over(shard, error)
        except (SafetensorError, ValueError) as error:
            self._remove(shard, str(error))

    def _take_in(self, shard: Shard, keys: np.ndarray) -> None:
        self._fresh.append(KeyIndex.of_rows(keys, len(self._shards)))
        self._shards.append(shard)
        self._sound.add(shard.name)

    def _settle(self, changed: bool = False) -> None:
        """Merge new shards into the index, and write it if it has changed."""
        if self._fresh:
            self._index = KeyIndex.merged([self._index, *self._fresh])
            self._fresh, changed = [], True
        if changed:
            write_index(self._index_file, self._shards, self._index)

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """Places in the index, int64 (N,), all in checked shards; -1 for keys in none of them."""
        self._settle()
        place = self._index.find(keys)
        while self._drop_damaged(np.unique(self._index.shard[place[place >= 0]])):
            place = self._index.find(keys)
        return place

    def _drop_damaged(self, numbers: np.ndarray) -> bool:
        """Check shards, and drop the damaged ones; returns whether there were any."""
        stay = np.ones(len(self._shards), dtype=bool)
        for number in numbers:
            stay[number] = self._is_sound(self._shards[number])
        if stay.all():
            return False
        self._index = self._index.of_shards(stay)
        self._shards = [shard for shard, stays in zip(self._shards, stay, strict=True) if stays]
        self._settle(changed=True)
        return True

    def _is_sound(self, shard: Shard) -> bool:
        """Whether a shard's content matches its name, and is of this model; if not, it is removed."""
        if shard.name in self._sound:
            return True
        path = self.folder / shard.name
        try:
            if file_sha256(path)[:32] != path.stem:
                raise ValueError("its content does not match its name")
            self._check_model(path)
        except OSError as error:
            self._pass_over(shard, error)
            return False
        except (SafetensorError, ValueError) as error:
            self._remove(shard, str(error))
            return False
        self._sound.add(shard.name)
        return True

    def _check_model(self, path: Path) -> None:
        """Refuse a shard of another model, whose keys may be the same; shards of older versions do not name theirs.

        Raises:
            ValueError: it is of another model.
        """
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("folder", self.folder.name) != self.folder.name:
                raise ValueError("it is of another model")

    def _read(self, shard: Shard, rows: np.ndarray) -> np.ndarray:
        """Rows of a shard, float32 (n, D); the file is mapped into memory, not read whole."""
        try:
            with safe_open(self.folder / shard.name, framework="pt") as file:
                return file.get_tensor("embedding").numpy()[rows]
        except (OSError, SafetensorError) as error:
            self._sound.discard(shard.name)
            raise GoneError(f"cache shard {self.folder / shard.name} has gone: run again ({error})") from error

    def _pass_over(self, shard: Shard, error: OSError) -> None:
        """Go on without a shard that another run has removed, or that the disk has lost.

        Raises:
            InputError: it cannot be read for another reason, and may be intact.
        """
        if error.errno == errno.EIO:
            self._remove(shard, error.strerror or str(error))
        elif error.errno != errno.ENOENT:
            path = self.folder / shard.name
            raise InputError(f"cannot read the cache shard {path}: {error.strerror}; it is kept") from error

    def _remove(self, shard: Shard, reason: str) -> None:
        path = self.folder / shard.name
        logger.warning("cache shard %s is damaged (%s): removed, its images are encoded again", path, reason)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot remove the damaged cache shard {path}: {error.strerror}") from error


def _keys_in(path: Path) -> np.ndarray:
    """The keys of a shard, uint8 (n, 32).

    Raises:
        SafetensorError, ValueError: it holds something else than keys and embeddings.
    """
    with safe_open(path, framework="pt") as file:
        key, embedding = file.get_tensor("key"), file.get_slice("embedding")
        rows, *width = embedding.get_shape()
        fits = key.dtype == torch.uint8 and key.shape == (rows, KEY_BYTES)
        if not fits or len(width) != 1 or embedding.get_dtype() != "F32":
            raise ValueError("it holds no keys and embeddings")
    return key.numpy()


def _as_array(keys: Keys) -> np.ndarray:
    return keys if isinstance(keys, np.ndarray) else keys_from_hex(keys)
