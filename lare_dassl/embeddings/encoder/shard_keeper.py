"""Keeping embeddings in shards of the cache while further images are encoded."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lare_dassl.embeddings.cache.store import EmbeddingStore

from .decoding import DecodedBatch

# A shard is written after so many images, or after so long: at most this is lost when the process is killed.
SHARD_ROWS = 1024
SHARD_SECONDS = 30.0


class ShardKeeper:
    """Writes embeddings in shards of SHARD_ROWS, or of what SHARD_SECONDS give, and on exit what is left.

    Args:
        store: where they are kept.
        keys: of all images, uint8 (N, 32).
        progress: counts the images.

    Attributes:
        causes: place of an image that cannot be read → the cause.
    """

    def __init__(self, store: EmbeddingStore, keys: np.ndarray, progress: tqdm) -> None:
        self.causes: dict[int, str] = {}
        self._store = store
        self._keys = keys
        self._progress = progress
        self._waiting: list[tuple[list[int], Tensor]] = []
        self._written = time.monotonic()

    def __enter__(self) -> ShardKeeper:
        return self

    def __exit__(self, *_: object) -> None:
        # After an interruption too.
        self._write()

    def keep(self, batch: DecodedBatch, embedding: Tensor) -> None:
        """Keep a batch with its embeddings (B, D)."""
        self.causes.update(batch.unreadable)
        if batch.places:
            self._waiting.append((batch.places, embedding))
        rows = sum(len(places) for places, _ in self._waiting)
        if rows >= SHARD_ROWS or time.monotonic() - self._written > SHARD_SECONDS:
            self._write()
        self._progress.update(len(batch.places) + len(batch.unreadable))

    def _write(self) -> None:
        waiting, self._waiting, self._written = self._waiting, [], time.monotonic()
        if waiting:
            places = np.concatenate([places for places, _ in waiting])
            self._store.add(self._keys[places], torch.cat([embedding for _, embedding in waiting]))
