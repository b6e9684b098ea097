"""The other side of decoding_processes.py: a server imports once what decoding needs, and its forks decode.

All of them end by themselves as soon as the process that asked for them closes its end of their standard input, or
dies. The server has neither threads nor a GPU, so that it can be forked.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .decoding import decode_image

# Tasks that a worker has at a time: one that it is at, and one with which it goes on at once.
TASKS = 2
# Images of a task: enough that handing them over costs little, few enough that all workers end at about the same time.
TASK_IMAGES = 8
# Of a task that takes longer, what has been decoded is reported after so long.
REPORT_SECONDS = 0.05


@dataclass(frozen=True)
class Setup:
    """What the workers are started with.

    Attributes:
        resize: PIL image → pixels.
        shape: of the pixels of one image.
        dtype: of them.
        most_pixels: Pillow's limit for an image.
        memory: file descriptor of the memory that they share; see worker_slots.
        connections: file descriptors, one for each worker.
    """

    resize: Callable[[Image.Image], Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype
    most_pixels: int | None
    memory: int
    connections: tuple[int, ...]

    @property
    def memory_bytes(self) -> int:
        """Size of the shared memory."""
        images = len(self.connections) * TASKS * TASK_IMAGES
        return images * torch.Size(self.shape).numel() * self.dtype.itemsize

    def worker_slots(self) -> Tensor:
        """The shared memory: pixels (workers, TASKS, TASK_IMAGES, *shape); a worker's nth task has n % TASKS of it."""
        memory = torch.frombuffer(mmap.mmap(self.memory, self.memory_bytes), dtype=self.dtype)
        return memory.view(len(self.connections), TASKS, TASK_IMAGES, *self.shape)


def serve() -> None:
    """Start the workers of the Setup on standard input, and end with them."""
    setup: Setup = pickle.load(sys.stdin.buffer)
    slots = setup.worker_slots()
    Image.MAX_IMAGE_PIXELS = setup.most_pixels
    torch.set_num_threads(1)
    # Workers that have ended vanish by themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for place, connection in enumerate(setup.connections):
        if os.fork() == 0:
            # Held by its worker alone, a connection ends with it.
            for other in setup.connections[place + 1 :]:
                os.close(other)
            threading.Thread(target=_end_with_input, daemon=True).start()
            _work(Connection(connection), slots[place], setup.resize)
            os._exit(0)
        os.close(connection)
    os.read(0, 1)
    with suppress(ChildProcessError):
        os.wait()


def _end_with_input() -> None:
    """Wait for the end of standard input, and then end this process, whatever it is at."""
    os.read(0, 1)
    os._exit(0)


def _work(connection: Connection, slots: Tensor, resize: Callable[[Image.Image], Tensor]) -> None:
    """Decode tasks, which are lists of paths, and report for each image whether its pixels are in the slot."""
    with suppress(EOFError, OSError):
        # Tells that this worker is there.
        connection.send([])
        for number in count():
            for report in _reports(connection.recv(), slots[number % TASKS], resize):
                connection.send(report)


def _reports(paths: Sequence[str], slot: Tensor, resize: Callable[[Image.Image], Tensor]) -> Iterator[list[bool]]:
    report: list[bool] = []
    start = time.monotonic()
    for row, path in enumerate(paths):
        report.append(_decode_into(slot[row], path, resize))
        if row + 1 == len(paths) or time.monotonic() - start > REPORT_SECONDS:
            yield report
            report, start = [], time.monotonic()


def _decode_into(pixels: Tensor, path: str, resize: Callable[[Image.Image], Tensor]) -> bool:
    """Whether an image could be decoded; if not, the process that asked tries again, and finds out what is wrong."""
    try:
        found = decode_image(Path(path), resize)
    except Exception:
        return False
    if found.shape != pixels.shape or found.dtype != pixels.dtype:
        return False
    pixels.copy_(found)
    return True
