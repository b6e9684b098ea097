"""The processor cores that this process may use, and torch's threads on them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Quota and period in microseconds, "max" for no quota (cgroup v2); each container has its own file here.
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Number of processor cores that this process may use: its affinity, limited by its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(allowed)))


def _quota(allowed: int) -> int:
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return allowed if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return allowed


# Torch's own choice; another number later means that somebody has set it.
BY_ITSELF = torch.get_num_threads()


def use_threads(threads: int) -> None:
    """Set torch's number of threads; 0 keeps it, but limits torch's own choice to the usable cores.

    Threads that wait for a core make each other many times slower. The load of the cores is ignored: the last digits
    of a run depend on its threads, and would then depend on the hour.
    """
    given = torch.get_num_threads()
    torch.set_num_threads(threads or (min(given, usable_cores()) if given == BY_ITSELF else given))
