"""Decoding image files in processes, for an encoder on a GPU: threads would wait for Python's lock, and it for them.

The workers (decoding_worker.py) get paths in tasks of a few images, put the pixels into memory that they share with
this process, and report. They are no children of `multiprocessing`, which would import the user's script again.
Whatever cannot be decoded there is tried again here, so that every error is the one that threads would give.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .decoding import (
    PATIENCE_SECONDS,
    Decoded,
    DecodedBatch,
    as_they_come,
    attempt,
    decode_image,
    in_batches,
)
from .decoding_worker import TASK_IMAGES, TASKS, Setup
from .image_files import pillow_silent

logger = logging.getLogger(__name__)

# Starting takes seconds of a core, in which threads decode about as many images.
PROCESSES_FROM = 2000
# More would give more images than this process can hand on.
MOST_PROCESSES = 32
# An image at which so many processes died, each decoding nothing else, is given up.
MOST_DEATHS = 2
# How long workers may take to end: they do so at once, but for one that the system holds in the reading of a file.
END_SECONDS = 5.0
# sys.path comes first, since this package may be on it only for this process.
SERVER = """\
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from lare_dassl.embeddings.encoder.decoding_worker import serve
serve()
"""
SERVER_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SERVER_VARIABLES |= {"CUDA_VISIBLE_DEVICES": ""}

# A place with its pixels, or the cause why there are none, or None where this process is to find out.
Result = tuple[int, "Tensor | str | None"]


def processes_pay(device: torch.device, images: int) -> bool:
    """Whether to decode so many images in processes: for a GPU, where they are many, on a system that can share memory.

    On a CPU the encoder is what takes the time.
    """
    return device.type != "cpu" and images >= PROCESSES_FROM and hasattr(os, "memfd_create")


def decoded_by_processes(
    paths: Sequence[str | Path], resize: Any, places: Sequence[int], batch_size: int, *, processes: int, ahead: int
) -> Generator[DecodedBatch, None, None]:
    """As decoded_batches, in processes; in threads until these are there, and when they have all died.

    Args:
        paths: of image files.
        resize: PIL image → pixels (3, H, W) or (H, W, 3), of one size.
        places: of the images to decode among the paths.
        batch_size: images, readable or not, of a batch; fewer where none has come for PATIENCE_SECONDS, even none.
        processes: that decode, and as many threads.
        ahead: images that threads may have decoded, or begun, and are not yet in a batch.
    """

    def decode(place: int) -> Tensor:
        return decode_image(Path(paths[place]), resize)

    def items(workers: Workers) -> Iterator[Decoded | None]:
        left = deque(places)
        yield from as_they_come(decode, _taken(left, workers), processes, ahead)
        for result in workers.decode(paths, left):
            yield _settled(result, decode)
        yield from as_they_come(decode, left, processes, ahead)

    with closing(Workers(resize, min(processes, MOST_PROCESSES))) as workers:
        yield from in_batches(items(workers), batch_size)


def _taken(left: deque[int], workers: Workers) -> Iterator[int]:
    """Take images away until the workers can go on with them."""
    while left and not workers.ready():
        yield left.popleft()


def _settled(result: Result | None, decode: Callable[[int], Tensor]) -> Decoded | None:
    if result is None:
        return None
    place, found = result
    if found is not None:
        return place, found
    with pillow_silent():
        return attempt(decode, place)


@dataclass
class _Task:
    """Places of images that are decoded together, and how many of them have been reported."""

    places: list[int]
    reported: int = 0

    def lost(self) -> list[int]:
        """The places that have not been reported."""
        return self.places[self.reported :]


@dataclass
class _Worker:
    """A process that decodes.

    Attributes:
        connection: to it.
        slots: pixels (TASKS, TASK_IMAGES, ...) that it shares.
        there: whether it has been heard of.
        tasks: those not reported in full, in its order.
        finished: number of the others.
    """

    connection: Connection
    slots: Tensor
    there: bool = False
    tasks: deque[_Task] = field(default_factory=deque)
    finished: int = 0

    def begin(self, places: list[int], paths: Sequence[str | Path]) -> None:
        """Hand a task over."""
        self.tasks.append(_Task(places))
        # That it has died is found out when it is to report.
        with suppress(OSError):
            self.connection.send([os.fspath(paths[place]) for place in places])

    def receive(self) -> list[Result]:
        """Take a report; the first one is empty.

        Raises:
            EOFError, OSError: it has died.
        """
        report = self.connection.recv()
        self.there = True
        if not report:
            return []
        task, slot = self.tasks[0], self.slots[self.finished % TASKS]
        rows = slice(task.reported, task.reported + len(report))
        # A copy, since it goes on with this memory.
        images = slot[rows].clone()
        task.reported = rows.stop
        if not task.lost():
            self.tasks.popleft()
            self.finished += 1
        found = zip(task.places[rows], images, report, strict=True)
        return [(place, image if decoded else None) for place, image, decoded in found]


class Workers:
    """Processes that decode; they are started at once, and end when this is closed or this process dies.

    Args:
        resize: PIL image → pixels, all of one size.
        count: how many.
    """

    def __init__(self, resize: Any, count: int) -> None:
        self._workers: list[_Worker] = []
        self._server: subprocess.Popen[bytes] | None = None
        # Images whose process died, each of which is now a task by itself, and how often each has been at fault.
        self._lost: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        try:
            self._start(resize, count)
        except Exception as error:
            # A preprocessing may raise anything, here or when it is pickled; if it is at fault, threads will tell.
            logger.warning("processes that decode cannot be started (%s): decoding in threads", error)
            self.close()

    def _start(self, resize: Any, count: int) -> None:
        pixels = resize(Image.new("RGB", (8, 8)))
        memory = os.memfd_create("decoded images")
        pairs = [Pipe() for _ in range(count)]
        try:
            theirs = tuple(connection.fileno() for _, connection in pairs)
            setup = Setup(resize, tuple(pixels.shape), pixels.dtype, Image.MAX_IMAGE_PIXELS, memory, theirs)
            os.truncate(memory, setup.memory_bytes)
            slots = setup.worker_slots()
            self._workers = [_Worker(mine, part) for (mine, _), part in zip(pairs, slots, strict=True)]
            self._server = _start_server(setup)
        finally:
            os.close(memory)
            for _, connection in pairs:
                connection.close()

    def ready(self) -> bool:
        """Whether the last of the processes is there, or has died before."""
        return bool(self._workers) and self._workers[-1].connection.poll()

    def decode(self, paths: Sequence[str | Path], left: deque[int]) -> Iterator[Result | None]:
        """Decode images, and take them out of those left; ends early where all processes have died.

        Args:
            paths: of image files.
            left: places of the images to decode among the paths.

        Yields:
            A result of each image, and None whenever nothing has come for a while.
        """
        while self._workers and (left or self._lost or any(worker.tasks for worker in self._workers)):
            ready = wait([worker.connection for worker in self._workers], PATIENCE_SECONDS)
            results: list[Result] = []
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                results += self._receive(worker, paths)
            self._feed(paths, left)
            yield from results if ready else [None]
        left.extendleft(self._lost)
        if left:
            logger.warning("no process that decodes is left: decoding in threads")

    def _feed(self, paths: Sequence[str | Path], left: deque[int]) -> None:
        for worker in self._workers:
            while worker.there and len(worker.tasks) < TASKS and (self._lost or left):
                worker.begin([self._lost.popleft()] if self._lost else self._next_task(left), paths)

    def _next_task(self, left: deque[int]) -> list[int]:
        """Take a task's images; towards the end fewer, so that all workers have some."""
        fair = len(left) // (TASKS * len(self._workers))
        return [left.popleft() for _ in range(max(1, min(fair, TASK_IMAGES)))]

    def _receive(self, worker: _Worker, paths: Sequence[str | Path]) -> list[Result]:
        try:
            return worker.receive()
        except (EOFError, OSError):
            worker.connection.close()
            self._workers.remove(worker)
            return self._given_up(worker.tasks, paths)

    def _given_up(self, tasks: Sequence[_Task], paths: Sequence[str | Path]) -> list[Result]:
        """Have the images of a process that died decoded again, each by itself; and give up one that was by itself."""
        if not tasks:
            return []
        lost = [place for task in tasks for place in task.lost()]
        logger.warning(
            "a process that decodes died (killed, or out of memory?): %d images are decoded again, %s first",
            len(lost),
            paths[lost[0]],
        )
        self._lost.extend(lost)
        if len(tasks[0].places) > 1:
            return []
        self._deaths[lost[0]] += 1
        if self._deaths[lost[0]] < MOST_DEATHS:
            return []
        self._lost.remove(lost[0])
        return [(lost[0], f"{MOST_DEATHS} processes died while decoding it: damaged, or too large for the memory?")]

    def close(self) -> None:
        """End the processes, whatever they are at."""
        started = self.ready() or any(worker.there for worker in self._workers)
        for worker in self._workers:
            worker.connection.close()
        self._workers = []
        if self._server is None or self._server.stdin is None:
            return
        self._server.stdin.close()
        if not started:
            self._server.kill()
        try:
            self._server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


def _start_server(setup: Setup) -> subprocess.Popen[bytes]:
    content = pickle.dumps(sys.path) + pickle.dumps(setup)
    server = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", SERVER],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | SERVER_VARIABLES,
        pass_fds=[setup.memory, *setup.connections],
        # Ctrl-C is for this process alone.
        start_new_session=True,
    )
    # If it is gone already, its connections tell.
    with suppress(OSError):
        assert server.stdin is not None
        server.stdin.write(content)
    return server
