"""One run of a benchmark: it is trained as tools/train.py would train it, with a log of its own, unless it is done."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO, cast

from lare_dassl.commands.train import train, train_several
from lare_dassl.errors import InputError
from lare_dassl.io.files import make_folder
from lare_dassl.results.record import FILE_NAME, OtherFormatError, Record, read_record
from lare_dassl.system.log_file import Tee
from lare_dassl.system.logs import start_logging

from .cells import settings_difference
from .plan import PlannedRun

LOG_FILE = "log.txt"


class ForeignRecordError(InputError):
    """The folder of a run holds the record of another one, or of another version."""


def finished_record(planned: PlannedRun) -> Record | None:
    """The record of a finished run; None where there is none yet.

    Raises:
        ForeignRecordError: its folder holds the record of a run with other settings, or of another format.
        InputError: the record is damaged.
    """
    path = planned.folder / FILE_NAME
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except OtherFormatError as error:
        raise ForeignRecordError(f"{error}; move it away or delete it") from error
    difference = settings_difference(record.config, planned.config)
    if difference:
        raise ForeignRecordError(f"{path} is the record of another run ({difference}): move it away or delete it")
    return record


def carry_out(planned: PlannedRun) -> str:
    """Train and test in the run's folder, going on from what is there; gives the reason of a failure, "" without one.

    Nothing is printed: standard output is copied to the run's log.txt, and standard error goes there too.
    """
    try:
        with _own_log(make_folder(planned.folder, "--output-dir")):
            return _try(planned)
    except InputError as error:
        return reason_of(error)
    finally:
        start_logging(logging.WARNING)


def carry_out_unit(unit: Sequence[PlannedRun]) -> list[str]:
    """Carry out runs that differ in their seed alone, together if there are several and that can be; see carry_out."""
    if len(unit) > 1:
        _carry_out_together(unit)
    return ["" if len(unit) > 1 and is_finished(planned) else carry_out(planned) for planned in unit]


def _carry_out_together(unit: Sequence[PlannedRun]) -> None:
    """Try to; what is not finished after it is left to be carried out alone, and says why it fails if it does."""
    folders = [planned.folder for planned in unit]
    try:
        with _own_log(make_folder(folders[0], "--output-dir")):
            done = _try_together(unit)
    except InputError:
        return
    finally:
        start_logging(logging.WARNING)
    for folder in folders[1:] if done else ():
        # A disk that is full is no reason to lose the runs.
        with suppress(OSError), (folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(f"see {folders[0] / LOG_FILE} of the run that this one was trained together with\n")


def _try_together(unit: Sequence[PlannedRun]) -> bool:
    try:
        return not train_several([planned.request for planned in unit])
    except (Exception, SystemExit):
        traceback.print_exc()
        return False


def is_finished(planned: PlannedRun) -> bool:
    """True for a run with a record of its own."""
    try:
        return finished_record(planned) is not None
    except InputError:
        return False


def _try(planned: PlannedRun) -> str:
    try:
        train(planned.request)
        written = finished_record(planned) is not None
        return "" if written else f"{planned.trainer} has written no {FILE_NAME}: {planned.folder / LOG_FILE} says why"
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return reason_of(error)


def reason_of(error: BaseException) -> str:
    """Why something failed, in one line; of what is no InputError with its type."""
    message = " ".join(str(error).split())
    return message if isinstance(error, InputError) else f"{type(error).__name__}: {message}"


@contextmanager
def _own_log(folder: Path) -> Iterator[None]:
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        closing(Tee(nowhere, folder / LOG_FILE)) as log,
        redirect_stdout(nowhere),
        redirect_stderr(cast(TextIO, log)),
    ):
        try:
            yield
        finally:
            # `train` has put a copy to log.txt around standard output.
            sys.stdout.close()
