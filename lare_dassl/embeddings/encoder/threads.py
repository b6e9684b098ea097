"""Encoding decoded batches: several calls side by side on a CPU, and smaller calls where a GPU's memory runs out.

A second core gains little within a matrix product, since each waits for the other at its end; so on a CPU each core
has a batch of its own. The embedding of an image is the same to the bit for any number of threads.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress

import torch
from torch import Tensor

from lare_dassl.errors import InputError

from .decoding import DecodedBatch, one_torch_thread, thread_pool

logger = logging.getLogger(__name__)

# More calls need more memory; on more cores each call has several threads.
MOST_CALLS = 4
# Images in a call; smaller calls lose more time than cores that wait for each other.
LEAST_ROWS = 8

Keep = Callable[[DecodedBatch, Tensor], None]


class NotFiniteError(Exception):
    """The encoder gave NaN or infinity for the image at `place`."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def calls_side_by_side(device: torch.device, batch_size: int) -> int:
    """Number of encoder calls that share a batch of `batch_size` images and torch's threads."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), MOST_CALLS, batch_size // LEAST_ROWS))


class FittingEncoder:
    """An encoder that makes smaller calls after one has run out of memory.

    Args:
        encode: pixels (B, ...) → embeddings (B, D).
        rows: images in a call at first; halved whenever a call runs out of memory.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], rows: int) -> None:
        self.encode = encode
        self.rows = rows

    def __call__(self, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of pixels (B, ...).

        Raises:
            InputError: the device has no memory for a single image.
        """
        rows = min(self.rows, len(pixels))
        try:
            return torch.cat([self.encode(part) for part in pixels.split(rows)])
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise InputError("the GPU has no memory left for one image: free it, or USE_CUDA False") from error
        # After the handler: within it, the error keeps the memory of the call.
        self.rows = rows // 2
        logger.warning("out of GPU memory with %d images in a call: going on with %d", rows, self.rows)
        torch.cuda.empty_cache()
        return self(pixels)


def encode_batches(batches: Iterable[DecodedBatch], encode: Callable[[Tensor], Tensor], calls: int, keep: Keep) -> None:
    """Encode batches while further ones are decoded, and keep each in its turn.

    Args:
        batches: to encode; one without a readable image is kept with no embeddings.
        encode: pixels (B, ...) → embeddings (B, D); called in other threads.
        calls: number of calls side by side.
        keep: called in this thread with each batch and its embeddings.

    Raises:
        NotFiniteError: an embedding is not finite; the batches before are kept.
    """
    running: deque[tuple[DecodedBatch, Future[Tensor]]] = deque()
    with thread_pool(calls, max(1, torch.get_num_threads() // calls)) as pool, one_torch_thread():
        try:
            for batch in batches:
                running.append((batch, _submit(pool, encode, batch)))
                while running and (len(running) > calls or running[0][1].done()):
                    _keep_first(running, keep)
            while running:
                _keep_first(running, keep)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            # Batches that are being encoded are kept too.
            with suppress(CancelledError, NotFiniteError):
                while running:
                    _keep_first(running, keep)
            raise


def _submit(pool: ThreadPoolExecutor, encode: Callable[[Tensor], Tensor], batch: DecodedBatch) -> Future[Tensor]:
    return pool.submit(encode, batch.pixels) if batch.places else pool.submit(torch.empty, 0)


def _keep_first(running: deque[tuple[DecodedBatch, Future[Tensor]]], keep: Keep) -> None:
    batch, future = running[0]
    embedding = future.result()
    bad = (~embedding.isfinite()).any(dim=-1).nonzero()
    if len(bad):
        raise NotFiniteError(batch.places[int(bad[0])])
    keep(batch, embedding)
    running.popleft()
