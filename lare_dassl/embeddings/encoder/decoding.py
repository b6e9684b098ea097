"""Decoding image files in threads, ahead of the encoder. B: images of a batch.

Pillow lets go of Python's lock while it decodes and resizes, so a few threads use a core each without a process for
each. They wait for the lock from about 1,500 images a second on; decoding_processes.py is for a faster encoder.
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
        places: of the images that could be read, in the list that was to be decoded.
        pixels: theirs, float32 (B, 3, H, W), or uint8 (B, H, W, 3) not yet scaled.
        unreadable: the places of the others, each with the cause.
    """

    places: list[int]
    pixels: Tensor
    unreadable: list[tuple[int, str]]


def decode_image(path: Path, preprocess: object) -> Tensor:
    """Read an image file and preprocess it: what `preprocess` gives of it as an RGB image.

    Raises:
        InputError: see read_rgb.
    """
    return preprocess(read_rgb(path))  # type: ignore[operator]


def decoded_batches(
    decode: Callable[[int], Tensor], places: Sequence[int], batch_size: int, *, threads: int, ahead: int
) -> Generator[DecodedBatch, None, None]:
    """Decode images and put them into batches as they come, so that no batch waits for a slow image.

    Args:
        decode: place → pixels (3, H, W) or (H, W, 3); an InputError says why an image cannot be read.
        places: to decode, begun in this order.
        batch_size: images, readable or not, of a batch; fewer where no image has come for PATIENCE_SECONDS, even none.
        threads: that decode.
        ahead: images that may be decoded, or begun, and not yet be in a batch.
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
    """A place with its pixels, or the cause why there are none."""
    try:
        return place, decode(place)
    except InputError as error:
        return place, str(error)


def as_they_come(
    decode: Callable[[int], Tensor], places: Iterable[int], threads: int, ahead: int
) -> Iterator[Decoded | None]:
    """The attempt at each place, as threads make them; None whenever nothing has come for a while."""

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
    """Threads, each of which has so many of torch's own threads for its computations."""
    pool = ThreadPoolExecutor(size, initializer=_limit_torch, initargs=(torch_threads,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # A thread's limit is also the one that threads yet to come begin with: give them this thread's again.
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch from dividing this thread's computations, whose parts would take the cores from the other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limit_torch(torch_threads: int) -> None:
    # Asking first: a thread that has not asked yet would take over the latest limit of any thread.
    torch.get_num_threads()
    torch.set_num_threads(torch_threads)
