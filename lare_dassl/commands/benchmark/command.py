"""The commands `benchmark` and `demo`: plan, run what is not done, show the tables."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from lare_dassl.cluster.engine import cluster_of
from lare_dassl.cluster.ray_tasks import Cluster
from lare_dassl.commands.console import show
from lare_dassl.config.keys import FILE_KEYS, cell_settings
from lare_dassl.config.request import BenchmarkRequest
from lare_dassl.encoding.shards import ahead_on
from lare_dassl.errors import InputError, UnwritableError, printable
from lare_dassl.io.files import make_folder
from lare_dassl.io.locks import LOCK_FILE, in_folder, only_one
from lare_dassl.report.page import Options, write_report
from lare_dassl.report.runs.data_notes import data_notes
from lare_dassl.report.terminal import accuracy_table, domain_table
from lare_dassl.results import plan_file
from lare_dassl.results.record import FILE_NAME, Record
from lare_dassl.results.run_facts import RunFacts
from lare_dassl.system.logs import start_logging
from lare_dassl.trainers.base.description import described

from .cluster_execution import outcomes_on
from .execution import Outcomes, outcomes, suited_jobs, units
from .one_run import ForeignRecordError, finished_record, reason_of
from .plan import Plan, PlannedRun, make_plan
from .shared_encoding import encode_shared

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Outcome:
    """How a benchmark went.

    Attributes:
        records: of the finished runs, in the order of the plan.
        planned: for each run of the plan its record, or its facts where it is not finished.
        failed: one line for each run that is not finished: its folder and the reason.
        refused: one line for each part of the command that was refused.
    """

    records: list[Record]
    planned: list[RunFacts]
    failed: list[str]
    refused: list[str]


def benchmark(request: BenchmarkRequest, title: str = "mean ± std over seeds", *, by_domain: bool = False) -> None:
    """Run tools/benchmark.py: carry out all runs, print mean ± std of each cell, and write the report.

    Args:
        request: of the benchmark.
        title: of the table.
        by_domain: print a table of the accuracies on each domain too.

    Raises:
        InputError: the command is at fault, or something of it was refused or has failed; all else is done by then.
    """
    outcome = carry_out_all(request)
    with failures_shown_last(outcome):
        if outcome.records:
            show(accuracy_table(outcome.records, outcome.planned, title=title))
            if by_domain:
                show(domain_table(outcome.records, title="Accuracy on each domain, %: mean ± std"))
            show_places(outcome, Path(request.output_dir))


def show_places(outcome: Outcome, output_dir: Path) -> None:
    """Tell what to know of the images, print where the records are, and write the HTML report.

    A report that cannot be made leaves the runs as they are.

    Raises:
        UnwritableError: the report cannot be written.
    """
    _tell(f"note: {line}" for line in data_notes(outcome.records, outcome.planned))
    show(f"records: {output_dir}/<dataset>/<method>/<settings>/seed<k>/{FILE_NAME}")
    try:
        show(f"report: {write_report(Options(output_dir, output_dir / REPORT_FILE))}")
    except UnwritableError:
        raise
    except InputError as error:
        _tell([f"no report: {error}"])


def compare_on_demo(config_file: Path, seeds: int, root: str, output_dir: Path) -> None:
    """Run the methods on the demo world with seeds 0 to seeds - 1, and print mean ± std of their accuracies.

    Args:
        config_file: of the demo world.
        seeds: number of seeds, at least 1.
        root: folder of the rendered images.
        output_dir: folder of the runs; finished ones are kept.

    Raises:
        InputError: fewer than one seed, a folder that cannot be written to, or a run that failed.
    """
    request = BenchmarkRequest(
        trainers=tuple(method.name for method in described() if method.group == "paper"),
        dataset_config_files=(str(config_file),),
        roots=(root,),
        seeds=seeds,
        output_dir=str(output_dir),
    )
    benchmark(request, "Demo world: mean ± std", by_domain=True)


def carry_out_all(request: BenchmarkRequest) -> Outcome:
    """Run what is planned and not done yet.

    Raises:
        InputError: the command is at fault, or nothing of it can be run.
    """
    start_logging(logging.WARNING)
    plan = make_plan(request)
    if not plan.runs:
        _tell(f"refused: {line}" for line in plan.refused[:-1])
        raise InputError(plan.refused[-1])
    _tell([*(f"refused: {line}" for line in plan.refused), *plan.repeated])
    output_dir = make_folder(Path(request.output_dir), "--output-dir")
    with only_one(output_dir / LOCK_FILE, in_folder(output_dir, "--output-dir")):
        return _carry_out_plan(plan, request, output_dir)


def _carry_out_plan(plan: Plan, request: BenchmarkRequest, output_dir: Path) -> Outcome:
    write_plan(output_dir, plan.runs)
    to_run, failed = _still_to_run(plan)
    show(f"{len(plan.runs)} runs: {len(plan.runs) - len(to_run) - len(failed)} are done, {len(to_run)} to do")
    with _cluster(to_run, request, output_dir) as cluster:
        failed |= encode_shared(to_run, ahead_on(cluster))
        failed |= _carry_out([planned for planned in to_run if planned.folder not in failed], request, cluster)
    return _outcome(plan, failed)


def write_plan(output_dir: Path, runs: Iterable[PlannedRun]) -> Path:
    """Write the plan into the benchmark's folder, so that a report can name the runs that are missing.

    The runs that earlier commands have planned there follow, except those of the same settings in another folder: the
    files that they name have changed. A damaged plan is replaced.

    Raises:
        InputError: the file cannot be written.
    """
    path = output_dir / plan_file.FILE_NAME
    planned_runs = [
        plan_file.PlannedRecord.of(planned.config, folder=planned.folder.relative_to(output_dir).as_posix())
        for planned in runs
    ]
    planned_now = set(map(_identity, planned_runs))
    with suppress(InputError):
        planned_runs += [earlier for earlier in plan_file.read_plan(path) if _identity(earlier) not in planned_now]
    return plan_file.write_plan(path, planned_runs)


def _identity(planned: RunFacts) -> tuple[str, int, frozenset[tuple[str, str]]]:
    """The identity of a planned run: its dataset, seed and settings, but not the places of its files."""
    settings = cell_settings(planned.config)
    return (
        planned.dataset_label,
        planned.seed,
        frozenset((key, value) for key, value in settings.items() if key not in FILE_KEYS),
    )


def _still_to_run(plan: Plan) -> tuple[list[PlannedRun], dict[Path, str]]:
    """The runs without a record, and those that cannot run since another's record is in their folder, with the line."""
    to_run, foreign = [], {}
    for planned in plan.runs:
        try:
            if finished_record(planned) is None:
                to_run.append(planned)
        except ForeignRecordError as error:
            foreign[planned.folder] = reason_of(error)
        except InputError as error:
            _tell([f"run again: {reason_of(error)}"])
            to_run.append(planned)
    return to_run, foreign


def _cluster(
    runs: Sequence[PlannedRun], request: BenchmarkRequest, output_dir: Path
) -> AbstractContextManager[Cluster | None]:
    """The cluster for runs; none is connected to where there are no runs."""
    if not runs:
        return nullcontext()
    cache_dir = runs[0].config["EMBEDDINGS"]["CACHE_DIR"]
    return cluster_of(request, cache_dir, {"--output-dir": output_dir})


def _carry_out(runs: Sequence[PlannedRun], request: BenchmarkRequest, cluster: Cluster | None) -> dict[Path, str]:
    """Run, with a progress bar on standard error; gives the failures."""
    failed: dict[Path, str] = {}
    if not runs:
        return failed
    how, started = _start(runs, request, cluster)
    with tqdm(total=len(runs), desc=f"runs, {how}", unit="run") as progress, closing(started) as ended:
        for planned, reason in ended:
            if reason:
                failed[planned.folder] = reason
            progress.set_postfix_str(f"{planned.trainer} seed {planned.config['SEED']}", refresh=False)
            progress.update()
    return failed


def _start(runs: Sequence[PlannedRun], request: BenchmarkRequest, cluster: Cluster | None) -> tuple[str, Outcomes]:
    """How runs are carried out, in words, and their outcomes; a run begins when its outcome is asked for."""
    work = units(runs, request.together == "yes" or (request.together == "auto" and torch.cuda.is_available()))
    if cluster is not None:
        return "on Ray", outcomes_on(cluster, work, request.threads)
    jobs = request.jobs or suited_jobs(len(work), request.threads)
    return f"{jobs} at a time", outcomes(work, jobs, request.threads)


def _outcome(plan: Plan, failed: dict[Path, str]) -> Outcome:
    records: list[Record] = []
    planned_records: list[RunFacts] = []
    for planned in plan.runs:
        record = None if planned.folder in failed else finished_record(planned)
        records += [record] if record else []
        planned_records.append(record or planned.facts)
    lines = [f"{folder}: {reason}" for folder, reason in failed.items()]
    return Outcome(records, planned_records, lines, list(plan.refused))


@contextmanager
def failures_shown_last(outcome: Outcome) -> Iterator[None]:
    """Name what has failed, behind all else that is shown, and even if showing it fails.

    Raises:
        InputError: something was refused or has failed; says how much.
    """
    try:
        yield
    finally:
        _tell([*(f"refused: {line}" for line in outcome.refused), *(f"failed: {line}" for line in outcome.failed)])
    if outcome.failed or outcome.refused:
        failed = f"{len(outcome.failed)} of {len(outcome.planned)} runs failed" if outcome.failed else ""
        refused = f"{len(outcome.refused)} of the command's parts refused" if outcome.refused else ""
        raise InputError(
            f"{', '.join(filter(None, (failed, refused)))} (see the lines above), all else is done: the same command, "
            "mended, runs the rest"
        )


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stderr.write(f"{printable(line)}\n")
