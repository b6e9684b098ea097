"""Runs on the nodes of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import torch

from lare_dassl.cluster.ray_tasks import ATTEMPTS, Cluster

from .execution import RUNS_PER_GPU, Outcomes, Unit
from .one_run import carry_out_unit, is_finished


def outcomes_on(cluster: Cluster, work: Sequence[Unit], threads: int) -> Outcomes:
    """Carry out runs on a cluster and give each one, as it ends, with the reason of its failure, "" without one.

    A run whose worker is lost goes on, on another, from what it has written.

    Args:
        cluster: all its nodes see the folders of the runs.
        work: to be carried out, a task for each unit.
        threads: of torch in each task.

    Raises:
        ClusterError: see Cluster.results.
    """
    demand = cluster.demand(cpus=threads, gpus=1 / RUNS_PER_GPU)
    lost = f"its worker was lost {ATTEMPTS} times: was it killed, or out of memory?"
    with closing(cluster.results(partial(carry_out_with, threads), work, demand)) as ended:
        for unit, reasons in ended:
            for planned, reason in zip(unit, reasons or [lost] * len(unit), strict=True):
                look_anew(planned.folder)
                yield planned, "" if reason == lost and is_finished(planned) else reason


def carry_out_with(threads: int, unit: Unit) -> list[str]:
    """See carry_out_unit; with a number of torch's threads."""
    torch.set_num_threads(threads)
    return carry_out_unit(unit)


def look_anew(folder: Path) -> None:
    """Open the folders down to this one: a network drive may remember for a while that a new file is not there."""
    for place in reversed((folder, *folder.parents)):
        with suppress(OSError):
            os.scandir(place).close()
