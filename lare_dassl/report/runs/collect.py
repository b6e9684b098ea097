"""The runs below a folder: their records, what cannot be read, and what was planned but is not there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lare_dassl.errors import InputError, all_printable, printable
from lare_dassl.results import plan_file, predictions
from lare_dassl.results.predictions import Predictions
from lare_dassl.results.record import FILE_NAME, Record, read_record
from lare_dassl.results.run_facts import RunFacts

from .summary import run_keys


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and its record in texts that can be shown."""

    folder: Path
    record: Record


@dataclass(frozen=True)
class Collection:
    """The runs below a folder.

    Attributes:
        folder: that was searched.
        runs: by path; no two are of the same settings and seed.
        problems: one line for each record that was left out, and why.
        planned: the runs that the plan file names, those that are finished by their records; empty without a plan.
    """

    folder: Path
    runs: tuple[Run, ...]
    problems: tuple[str, ...]
    planned: tuple[RunFacts, ...] = ()

    @property
    def records(self) -> list[Record]:
        """The records of the runs."""
        return [run.record for run in self.runs]

    @cached_property
    def keys(self) -> pd.DataFrame:
        """A row for each run, see summary.run_keys."""
        return run_keys(self.records, self.planned)


def collect(folder: Path) -> Collection:
    """Read all records below a folder; those that cannot be read become problems, the rest goes on.

    Raises:
        InputError: there is no such folder, or no record in it that can be read (names the first problem).
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the one that holds the runs")
    runs, problems = _read_runs(folder)
    plan, faults = _read_plan(folder / plan_file.FILE_NAME)
    places = [folder / entry.folder for entry in plan]
    runs, repeated = _without_repeated(folder, runs, places)
    finished = {run.folder: run.record for run in runs}
    planned = [finished.get(place) or entry.printable() for place, entry in zip(places, plan, strict=True)]
    problems = list(map(printable, [*problems, *repeated, *faults]))
    if not runs:
        cause = problems[0] if problems else f"no {FILE_NAME} in it or below it"
        raise InputError(f"nothing to report in {folder}: {cause}")
    return Collection(folder, tuple(runs), tuple(problems), tuple(planned))


def _read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    runs, problems = [], []
    # Unlike rglob, it passes over folders that a benchmark at work there removes at this moment.
    for path in sorted(Path(place) / FILE_NAME for place, _, files in os.walk(folder) if FILE_NAME in files):
        # Folders that begin with a dot are being written.
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            runs.append(Run(path.parent, read_record(path).printable()))
        except InputError as error:
            problems.append(f"left out: {' '.join(str(error).split())}{_what_to_do(error)}")
    return runs, problems


def _what_to_do(error: InputError) -> str:
    """Advice for a record that cannot be read, such as one that is cut off; "" where a new run may not help."""
    return "; run its command again" if isinstance(error.__cause__, ValueError) else ""


def _without_repeated(folder: Path, runs: list[Run], places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """One of the runs that agree in everything that sets runs apart, and a line for each of the others.

    A run that was tested comes before one that was not, a planned one before others, then the first by plan and path.

    Args:
        folder: that was searched.
        runs: by path.
        places: folders of the planned runs, in the order of the plan.
    """
    order = {place: number for number, place in reversed(list(enumerate(places)))}
    keys = run_keys([run.record for run in runs]).itertuples(index=False, name=None)
    alike: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for key, run in zip(keys, runs, strict=True):
        alike[key].append(run)
    kept, problems = set(), []
    for same in alike.values():
        first, *others = sorted(same, key=lambda run: (not _is_tested(run), order.get(run.folder, len(order))))
        kept.add(first.folder)
        agreed = f"has the settings and the seed of {first.folder.relative_to(folder)}"
        problems += [f"left out: {other.folder / FILE_NAME} {agreed}" for other in others]
    return [run for run in runs if run.folder in kept], problems


def _is_tested(run: Run) -> bool:
    return run.record.metrics.accuracy is not None


def _read_plan(path: Path) -> tuple[tuple[plan_file.PlannedRecord, ...], list[str]]:
    """The planned runs; none, and a line that says why, where the plan cannot be read."""
    try:
        return plan_file.read_plan(path), []
    except InputError as error:
        return (), [f"left out: {' '.join(str(error).split())}; which runs are missing is not known"]


def read_predictions(run: Run) -> Predictions:
    """The predictions beside a run's record.

    Raises:
        InputError: the file is missing (runs of trainers that are not ours have none), damaged or of another format.
    """
    read = predictions.read_predictions(run.folder / predictions.FILE_NAME)
    return replace(read, classnames=all_printable(read.classnames), domains=all_printable(read.domains))
