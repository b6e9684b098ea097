"""The processor cores that this process may use, and torch's threads on them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Quota and period in microseconds, "max" for no quota (cgroup v2); a container has its own at this place.
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Processor cores that this process may use: those it may run on, and no more than its container's quota gives."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(allowed)))


def _quota(allowed: int) -> int:
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return allowed if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return allowed


# What torch takes by itself; another number has been asked for by somebody.
BY_ITSELF = torch.get_num_threads()


def use_threads(threads: int) -> None:
    """Give torch so many threads; 0 leaves those it has, but by itself it gets no more than there are usable cores.

    Threads that wait for a core make each other many times slower. How busy the cores are at the moment is not asked:
    the last digits of a run depend on its threads, and would then depend on the hour.
    """
    given = torch.get_num_threads()
    torch.set_num_threads(threads or (min(given, usable_cores()) if given == BY_ITSELF else given))
