"""Runs one after another in this process, or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from lare_dassl.system.cores import usable_cores

from .one_run import carry_out_unit, is_finished
from .plan import PlannedRun

RUNS_PER_GPU = 4
# Spawned processes share no threads, locks or CUDA state with this one.
SPAWN = multiprocessing.get_context("spawn")


def suited_jobs(runs: int, threads: int) -> int:
    """How many runs to carry out side by side: as the cores allow, and with GPUs RUNS_PER_GPU on each of them."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    limits = [runs, usable_cores() // threads, *([RUNS_PER_GPU * gpus] if gpus else [])]
    return max(1, min(limits))


# Runs that one process carries out at a time: one, or several that differ in their seed alone.
Unit = tuple[PlannedRun, ...]
Outcomes = Generator[tuple[PlannedRun, str], None, None]


def units(runs: Sequence[PlannedRun], together: bool = False) -> list[Unit]:
    """Runs as units, in their order: those of one setting together, or each alone."""
    groups: dict[Path, list[PlannedRun]] = {}
    for planned in runs:
        groups.setdefault(planned.folder.parent if together else planned.folder, []).append(planned)
    return [tuple(group) for group in groups.values()]


def outcomes(work: Sequence[Unit], jobs: int, threads: int) -> Outcomes:
    """Carry out runs and give each one, as it ends, with the reason of its failure, "" without one.

    The outcome of a run does not depend on `jobs`, since each run has the same number of threads.

    Args:
        work: to be carried out.
        jobs: how many units at a time; with 1 in this process.
        threads: of torch in each unit.
    """
    return _in_turn(work, threads) if jobs == 1 else _side_by_side(work, jobs, threads)


def _in_turn(work: Sequence[Unit], threads: int) -> Outcomes:
    before = torch.get_num_threads()
    try:
        for unit in work:
            torch.set_num_threads(threads)
            yield from zip(unit, carry_out_unit(unit), strict=True)
    finally:
        torch.set_num_threads(before)


def _side_by_side(work: Sequence[Unit], jobs: int, threads: int) -> Outcomes:
    leash, grip = SPAWN.Pipe(duplex=False)
    idle = [Worker(place, threads, leash) for place in range(min(jobs, len(work)))]
    waiting = deque(work)
    busy: dict[Future[list[str]], tuple[Worker, Unit]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                worker, unit = idle.pop(), waiting.popleft()
                busy[worker.start(unit)] = worker, unit
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                worker, unit = busy.pop(future)
                idle.append(worker)
                yield from zip(unit, worker.reasons(future, unit), strict=True)
    finally:
        # Ends all workers at once, whatever they are at.
        grip.close()
        leash.close()


class Worker:
    """A process that carries out one unit at a time; one that has died is replaced, and only its own unit has failed.

    Args:
        place: number of the worker, from 0; it says which GPU it takes.
        threads: of torch.
        leash: the process ends when the other end of this pipe is closed, or its holder dies.
    """

    def __init__(self, place: int, threads: int, leash: Connection) -> None:
        self.arguments = place, threads, leash
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=SPAWN, initializer=_prepare_process, initargs=self.arguments)

    def start(self, unit: Unit) -> Future[list[str]]:
        """Begin a unit."""
        with _no_interruption():
            try:
                return self.pool.submit(carry_out_unit, unit)
            except BrokenProcessPool:
                self.pool = self._new_pool()
                return self.pool.submit(carry_out_unit, unit)

    def reasons(self, future: Future[list[str]], unit: Unit) -> list[str]:
        """Why each run of a unit that has ended has failed, "" where it has not."""
        try:
            return future.result()
        except BrokenProcessPool:
            self.pool = self._new_pool()
            died = "its process died: was it killed, or out of memory?"
            reason = died if len(unit) == 1 else f"{died} (--together no trains each seed alone)"
            return ["" if is_finished(planned) else reason for planned in unit]


def _prepare_process(place: int, threads: int, leash: Connection) -> None:
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())


def _end_with(leash: Connection) -> None:
    """Wait for the end of the pipe, and then end this process, in the midst of a run if it has one."""
    leash.poll(None)
    os._exit(1)


@contextmanager
def _no_interruption() -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started meanwhile never hears of it, and so leaves no traceback."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
