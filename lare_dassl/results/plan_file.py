"""The plan of a benchmark, plan.json (format `plan/1`): the runs that its folder is to hold.

The file is {"format": "plan/1", "runs": [...], "sha256": ...}; the checksum is of all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from lare_dassl.errors import InputError
from lare_dassl.io.files import replaced
from lare_dassl.io.json_files import opened, read_json, sealed

from .run_facts import RunFacts, checked

FORMAT = "plan/1"
FILE_NAME = "plan.json"


class PlannedRecord(RunFacts):
    """A planned run: what its record will say of it, and its folder.

    Attributes:
        folder: relative to that of the plan, with forward slashes.
    """

    folder: str


def write_plan(path: Path, runs: Iterable[PlannedRecord]) -> Path:
    """Write a plan, all or nothing.

    Raises:
        InputError: the file cannot be written.
    """
    content = sealed({"format": FORMAT, "runs": [run.model_dump() for run in runs]})
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path


def read_plan(path: Path) -> tuple[PlannedRecord, ...]:
    """The runs of a plan; none where there is no file.

    Raises:
        InputError: the file cannot be read, is damaged or no plan, or a run of it lacks a field.
    """
    if not path.is_file():
        return ()
    try:
        content = opened(read_json(path))
        runs = content.get("runs")
        if content.get("format") != FORMAT or not isinstance(runs, list):
            raise InputError(f"it is no plan of the format {FORMAT}")
        return tuple(checked(PlannedRecord, run, f"run {number}") for number, run in enumerate(runs, start=1))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the plan {path}: {error}") from error
