"""The runs below a folder: their records, what cannot be read, and what was planned but is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import predictions
from ..config import leaf_keys
from ..errors import InputError
from ..predictions import Predictions
from ..record import FILE_NAME, read_record
from .summary import run_keys

# A plan is {"format": PLAN_FORMAT, "runs": [...]}; each run has its folder, below that of the plan, and what its record
# will say of it: dataset, shots, imbalance, trainer, seed and config.
PLAN_FILE = "plan.json"
PLAN_FORMAT = "plan/1"
# What every record and every planned run must hold, and of which type.
FIELDS = {"dataset": str, "trainer": str, "seed": int, "shots": int, "imbalance": (int, float), "config": dict}
RECORD_FIELDS = FIELDS | {"metrics": dict}
PLANNED_FIELDS = FIELDS | {"folder": str}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the content of its record."""

    folder: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """What lies below a folder.

    Attributes:
        folder: that was searched.
        runs: by path; no two are of the same settings and seed.
        problems: one line for each record that was left out, and why.
        planned: the records of the runs that the plan file names; of one that is not finished a dictionary with
            dataset, shots, imbalance, trainer, seed and config. Empty where there is no plan.
    """

    folder: Path
    runs: tuple[Run, ...]
    problems: tuple[str, ...]
    planned: tuple[dict[str, Any], ...] = ()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of the runs."""
        return [run.record for run in self.runs]


def collect(folder: Path) -> Collection:
    """Read all records below a folder; those that cannot be read become problems, the rest goes on.

    Raises:
        InputError: there is no such folder, or no record in it that can be read (names the first problem).
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the one that holds the runs")
    runs, problems = _read_runs(folder)
    runs, repeated = _without_repeated(folder, runs)
    planned, faults = _read_plan(folder / PLAN_FILE)
    finished = {run.folder: run.record for run in runs}
    planned = [finished.get(folder / entry["folder"], entry) for entry in planned]
    problems = [*problems, *repeated, *faults]
    if not runs:
        cause = problems[0] if problems else f"no {FILE_NAME} in it or below it"
        raise InputError(f"nothing to report in {folder}: {cause}")
    return Collection(folder, tuple(runs), tuple(problems), tuple(planned))


def _read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    runs, problems = [], []
    for path in sorted(folder.rglob(FILE_NAME)):
        # Folders that begin with a dot are being written.
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            record = read_record(path)
            _check_fields(record, RECORD_FIELDS, str(path))
            runs.append(Run(path.parent, record))
        except InputError as error:
            problems.append(f"left out: {' '.join(str(error).split())}")
    return runs, problems


def _check_fields(content: Any, expected: dict[str, Any], where: str) -> None:
    for name, kind in expected.items():
        value = content.get(name) if isinstance(content, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{where} holds no usable '{name}'")
    values = dict(leaf_keys(content.get("metrics", {}))).values()
    if not all(value in (None, {}) or isinstance(value, (int, float)) for value in values):
        raise InputError(f"{where} holds 'metrics' that are no numbers")


def _without_repeated(folder: Path, runs: list[Run]) -> tuple[list[Run], list[str]]:
    """The first of runs that agree in everything that sets runs apart, and a line for each of the others."""
    kept: dict[tuple[Any, ...], Run] = {}
    problems = []
    keys = run_keys([run.record for run in runs]).itertuples(index=False, name=None)
    for key, run in zip(keys, runs, strict=True):
        first = kept.setdefault(key, run)
        if first is not run:
            other = first.folder.relative_to(folder)
            problems.append(f"left out: {run.folder / FILE_NAME} has the settings and the seed of {other}")
    return list(kept.values()), problems


def _read_plan(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The planned runs, none where there is no plan; a plan that cannot be read is told of, and left out."""
    if not path.is_file():
        return [], []
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plan, dict) or plan.get("format") != PLAN_FORMAT or not isinstance(plan.get("runs"), list):
            raise InputError(f"it is no plan of the format {PLAN_FORMAT}")
        for number, run in enumerate(plan["runs"], start=1):
            _check_fields(run, PLANNED_FIELDS, f"run {number}")
    except (OSError, ValueError) as error:
        return [], [f"left out: {path} ({' '.join(str(error).split())}); missing runs are guessed from those there"]
    return plan["runs"], []


def read_predictions(run: Run) -> Predictions:
    """The predictions beside a run's record.

    Raises:
        InputError: the file is missing (runs of trainers that are not ours have none), damaged or of another format.
    """
    return predictions.read_predictions(run.folder / predictions.FILE_NAME)
