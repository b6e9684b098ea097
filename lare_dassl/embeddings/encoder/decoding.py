"""Decoding image files in threads, ahead of the encoder. B: images of a batch.

Pillow releases Python's lock while it decodes and resizes, so a few threads use a core each. From about 1,500 images
a second on they wait for the lock; decoding_processes.py is for a faster encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

import torch
from PIL import Image
from torch import Tensor

from lare_dassl.errors import InputError

from .image_files import pillow_silent, read_rgb

# A batch that is not full goes to the encoder once no image has come for so long.
PATIENCE_SECONDS = 0.3

Decoded = tuple[int, "Tensor | str"]


@dataclass(frozen=True)
class DecodedBatch:
    """Images of one batch.

    Attributes:
        places: indices, in the list of files, of the images that could be read.
        pixels: of these images, float32 (B, 3, H, W), or uint8 (B, H, W, 3) before scaling.
        unreadable: places of the other images, each with the cause.
    """

    places: list[int]
    pixels: Tensor
    unreadable: list[tuple[int, str]]


def decode_image(path: Path, preprocess: Callable[[Image.Image], Tensor]) -> Tensor:
    """Read an image file as RGB, and preprocess it.

    Raises:
        InputError: see read_rgb.
    """
    return preprocess(read_rgb(path))


def decoded_batches(
    decode: Callable[[int], Tensor], places: Sequence[int], batch_size: int, *, threads: int, ahead: int
) -> Generator[DecodedBatch, None, None]:
    """Decode images and put them into batches as they come, so that no batch waits for a slow image.

    Args:
        decode: place → pixels (3, H, W) or (H, W, 3); an InputError says why an image cannot be read.
        places: to decode, begun in this order.
        batch_size: images, readable or not, of a batch; fewer where no image has come for PATIENCE_SECONDS, even none.
        threads: number of threads.
        ahead: images that may be decoded, or begun, before they are in a batch.
    """
    yield from in_batches(as_they_come(decode, places, threads, ahead), batch_size)


def in_batches(source: Iterable[Decoded | None], batch_size: int) -> Iterator[DecodedBatch]:
    """Put images into batches as they come; a batch that is not full goes out when None comes."""
    items: list[Decoded] = []
    for item in source:
        items += [item] if item is not None else []
        if len(items) == batch_size or item is None:
            yield batch_of(items)
            items = []
    if items:
        yield batch_of(items)


def attempt(decode: Callable[[int], Tensor], place: int) -> Decoded:
    """A place with its pixels, or with the cause why the image cannot be read."""
    try:
        return place, decode(place)
    except InputError as error:
        return place, str(error)


def as_they_come(
    decode: Callable[[int], Tensor], places: Iterable[int], threads: int, ahead: int
) -> Iterator[Decoded | None]:
    """Each place as soon as a thread has attempted it; None whenever none has come for PATIENCE_SECONDS."""

    def begin(most: int) -> int:
        futures = [pool.submit(attempt, decode, place) for place in islice(waiting, most)]
        for future in futures:
            future.add_done_callback(done.put)
        return len(futures)

    done: SimpleQueue[Future[Decoded]] = SimpleQueue()
    waiting = iter(places)
    with pillow_silent(), thread_pool(threads, torch_threads=1) as pool:
        left = begin(ahead)
        while left:
            try:
                item = done.get(timeout=PATIENCE_SECONDS).result()
            except Empty:
                yield None
                continue
            left += begin(1) - 1
            yield item


def batch_of(items: Sequence[Decoded]) -> DecodedBatch:
    read = [(place, result) for place, result in items if isinstance(result, Tensor)]
    unreadable = [(place, result) for place, result in items if isinstance(result, str)]
    pixels = torch.stack([pixels for _, pixels in read]) if read else torch.empty(0)
    return DecodedBatch([place for place, _ in read], pixels, unreadable)


@contextmanager
def thread_pool(size: int, torch_threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, in each of which torch computes with `torch_threads` threads of its own."""
    pool = ThreadPoolExecutor(size, initializer=_limit_torch, initargs=(torch_threads,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # New threads start with the limit that was set last, in whichever thread: set this thread's again.
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute in this thread alone: its threads would take the cores from other threads of ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limit_torch(torch_threads: int) -> None:
    # A thread that has not asked for its limit would later take over the latest limit of any thread.
    torch.get_num_threads()
    torch.set_num_threads(torch_threads)
