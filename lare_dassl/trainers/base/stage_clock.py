"""The times of a run's stages, carried over its resumptions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Seconds of each stage, and in all since the clock was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage so far, and of all under "total"; those of earlier legs included."""
        return self._stages | {"total": time.perf_counter() - self._started}

    def share(self, since: float, parts: int) -> None:
        """Count of the time since then, of `time.perf_counter`, only the part that falls to one of several runs."""
        self._started += (time.perf_counter() - since) * (1 - 1 / parts)

    def take_over(self, seconds: dict[str, float]) -> None:
        """Go on from the times of the run that is resumed, as `seconds` gave them."""
        self._started -= seconds["total"]
        for stage in seconds.keys() - {"total"}:
            self.add(stage, seconds[stage])

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self._stages[stage] = self._stages.get(stage, 0.0) + seconds
