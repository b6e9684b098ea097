"""Decoding image files in processes, for an encoder on a GPU: threads would wait for Python's lock, and it for them.

The processes are workers of torch's DataLoader, forked by multiprocessing's forkserver, which holds no CUDA context.
Their images come in the order asked for, so batches do not depend on the number of workers.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .decoding import Decoded, DecodedBatch, attempt, batch_of, decode_image, decoded_batches, in_batches
from .image_files import pillow_silent

logger = logging.getLogger(__name__)

START_METHOD = "forkserver"
# Imported once by the server; it brings all that the workers need.
PRELOADED = ["lare_dassl.vlm"]
# Starting takes 3.5 seconds, in which threads decode 3,000 images (843 a second, see docs/performance.md).
PROCESSES_FROM = 4000
# More would give more images than this process can hand on.
MOST_PROCESSES = 32
# Images that a worker decodes at a time. Two such tasks of each worker wait in shared memory, of which a container has
# only 64 MiB by default.
TASK_IMAGES = 8


def processes_pay(device: torch.device, images: int) -> bool:
    """Whether to decode so many images in processes: many images, for an encoder on a GPU.

    On a CPU the encoder takes most of the time.
    """
    available = START_METHOD in multiprocessing.get_all_start_methods()
    return device.type != "cpu" and images >= PROCESSES_FROM and available


def decoded_by_processes(
    paths: Sequence[str | Path], resize: Any, places: Sequence[int], batch_size: int, *, processes: int, ahead: int
) -> Generator[DecodedBatch, None, None]:
    """As decoded_batches, in processes; in threads where they cannot start, and from where one of them dies.

    Args:
        paths: image files.
        resize: PIL image → pixels (3, H, W) or (H, W, 3), of one size.
        places: indices into `paths` of the images to decode.
        batch_size: images, readable or not, of a batch.
        processes: that decode, and as many threads.
        ahead: images that threads may have decoded, or begun, and are not yet in a batch.
    """

    handed_on: set[int] = set()
    try:
        with _workers(Decoder(resize), _tasks(paths, places), processes) as tasks:
            for batch in in_batches(_images(tasks), batch_size):
                handed_on.update(batch.places, dict(batch.unreadable))
                yield batch
    except Exception as error:
        # The start fails where `resize` cannot be pickled; later on a worker has raised an error, or has died.
        *_, cause = str(error).splitlines() or [type(error).__name__]
        logger.warning("processes that decode have failed (%s): decoding the remaining images in threads", cause)

    def decode(place: int) -> Tensor:
        return decode_image(Path(paths[place]), resize)

    left = [place for place in places if place not in handed_on]
    yield from decoded_batches(decode, left, batch_size, threads=processes, ahead=ahead)


@dataclass(frozen=True)
class Decoder(Dataset[Decoded]):
    """A dataset of torch that decodes whichever image file it is asked for.

    Attributes:
        resize: PIL image → pixels.
    """

    resize: Any

    def __getitem__(self, image: tuple[int, str]) -> Decoded:
        """The place of an image with its pixels, or with the cause why it cannot be read."""
        place, path = image
        with pillow_silent():
            return attempt(lambda _: decode_image(Path(path), self.resize), place)


def _tasks(paths: Sequence[str | Path], places: Sequence[int]) -> Iterator[list[tuple[int, str]]]:
    """Places with their paths, those of a task together."""
    for start in range(0, len(places), TASK_IMAGES):
        yield [(place, os.fspath(paths[place])) for place in places[start : start + TASK_IMAGES]]


def _images(tasks: Iterable[DecodedBatch]) -> Iterator[Decoded]:
    """The images of decoded tasks, one by one."""
    for task in tasks:
        yield from zip(task.places, task.pixels, strict=True)
        yield from task.unreadable


@contextmanager
def _workers(
    decoder: Decoder, tasks: Iterator[list[tuple[int, str]]], processes: int
) -> Iterator[Iterator[DecodedBatch]]:
    """Workers that decode tasks, given in their order; they end with the context, or with this process."""
    context = multiprocessing.get_context(START_METHOD)
    context.set_forkserver_preload(PRELOADED)
    lifeline, held_here = context.Pipe(duplex=False)
    loader = DataLoader(
        decoder,
        batch_sampler=tasks,
        collate_fn=batch_of,
        num_workers=min(processes, MOST_PROCESSES),
        multiprocessing_context=context,
        worker_init_fn=_Preparation(Image.MAX_IMAGE_PIXELS, lifeline),
    )
    with held_here:
        with lifeline, _surroundings_of_workers():
            batches = iter(loader)
        yield batches


@dataclass(frozen=True)
class _Preparation:
    """The first call in a worker: takes over Pillow's limit, and leaves Ctrl-C to the parent.

    Attributes:
        most_pixels: Pillow's limit.
        lifeline: a pipe that the parent holds open; the worker ends with it, whatever it is doing.
    """

    most_pixels: int | None
    lifeline: Connection

    def __call__(self, _: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Image.MAX_IMAGE_PIXELS = self.most_pixels
        threading.Thread(target=self._end_with_lifeline, daemon=True).start()

    def _end_with_lifeline(self) -> None:
        self.lifeline.poll(None)
        os._exit(1)


@contextmanager
def _surroundings_of_workers() -> Iterator[None]:
    """Let the server import modules from where this process does, and the workers nothing of the user's script.

    The script may begin its work without asking whether it is __main__.
    """
    main, path = sys.modules["__main__"], {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in path}
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(path)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
