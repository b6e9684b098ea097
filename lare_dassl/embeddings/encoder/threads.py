"""The encoder at work on decoded batches: several calls side by side on a CPU, smaller ones where memory runs out.

Matrix products of one image gain little from a second core, which waits at the end of each for the first; so on a CPU
each core has its own batch. The embedding of an image is the same to the bit, whatever the threads.
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

# More calls side by side would need more memory; beyond it each of them has several threads.
MOST_CALLS = 4
# Smaller calls would be slower than what one core loses by waiting.
LEAST_ROWS = 8

Keep = Callable[[DecodedBatch, Tensor], None]


class NotFiniteError(Exception):
    """The encoder gave NaN or infinity for the image at `place`."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def calls_side_by_side(device: torch.device, batch_size: int) -> int:
    """Encoder calls that share a batch of so many images, and torch's threads."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), MOST_CALLS, batch_size // LEAST_ROWS))


class FittingEncoder:
    """Encodes with as many images in a call as the device has memory for.

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
            InputError: the device has not even memory for one image.
        """
        rows = min(self.rows, len(pixels))
        try:
            return torch.cat([self.encode(part) for part in pixels.split(rows)])
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise InputError("the GPU has no memory left for one image: free it, or USE_CUDA False") from error
        # Out of the handler, whose error holds on to what the call had in memory.
        self.rows = rows // 2
        logger.warning("out of GPU memory with %d images in a call: going on with %d", rows, self.rows)
        torch.cuda.empty_cache()
        return self(pixels)


def encode_batches(batches: Iterable[DecodedBatch], encode: Callable[[Tensor], Tensor], calls: int, keep: Keep) -> None:
    """Encode batches while further ones are decoded, and keep each in its turn, those unreadable throughout too.

    Args:
        batches: to encode.
        encode: pixels (B, ...) → embeddings (B, D); called from other threads.
        calls: how many to make side by side.
        keep: called with each batch and its embeddings.

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
            # What was being encoded meanwhile is kept too.
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
