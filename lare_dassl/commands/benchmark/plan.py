"""The plan of a benchmark: the product of methods, datasets, settings and seeds, each run in a folder of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

from lare_dassl.commands.checks import make_config
from lare_dassl.config import merging
from lare_dassl.config.keys import KEYS_OF_IMAGES, OWN_KEYS, leaf_keys
from lare_dassl.config.request import BenchmarkRequest, RunRequest
from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.errors import InputError, shortened
from lare_dassl.results.run_facts import RunFacts
from lare_dassl.trainers.base.description import description_of

from .cells import PROFILE, RATIO, SHOTS, cell_folder, forget_listings


@dataclass(frozen=True)
class PlannedRun:
    """One run of a benchmark.

    Attributes:
        folder: its own.
        request: the run as tools/train.py would be asked for it.
        facts: what its record will say of it, the whole configuration included.
    """

    folder: Path
    request: RunRequest
    facts: RunFacts

    @property
    def trainer(self) -> str:
        """Name of the method."""
        return self.facts.trainer

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration."""
        return self.facts.config


@dataclass(frozen=True)
class Plan:
    """The runs of a benchmark, and what of its command is left out.

    Attributes:
        runs: no two with the same folder.
        refused: a line for each part of the command that no run can have.
        repeated: a line for each part of the command that is in it twice.
    """

    runs: tuple[PlannedRun, ...]
    refused: tuple[str, ...]
    repeated: tuple[str, ...] = ()


def make_plan(request: BenchmarkRequest) -> Plan:
    """The product of datasets, methods, shots, ratios, values of --set, and seeds.

    Values that no run can have are refused, a second run of the same settings is left out; all others are planned. Of
    methods that do not know a key of --set, such as FineTune of TRAINER.LARE.ALPHA, one run is planned for all its
    values.

    Raises:
        InputError: the command itself is at fault: a key is set twice, there are no seeds, or too few roots.
    """
    _check_command(request)
    forget_listings()
    cells: dict[Path, list[PlannedRun]] = {}
    refused, repeated = [], []
    for dataset, trainer, settings in product(request.datasets(), request.trainers, product(*_axes(request))):
        try:
            runs = _runs_of_cell(request, dataset, trainer, dict(settings))
            folder = runs[0].folder.parent
            if folder not in cells:
                cells[folder] = runs
            elif _knows(runs[0], dict(settings)):
                repeated.append(f"left out: a second run with the same folder {folder}")
        except InputError as error:
            refused.append(str(error))
    lines = (tuple(dict.fromkeys(lines)) for lines in (refused, repeated))
    return Plan(tuple(chain.from_iterable(cells.values())), *lines)


def _knows(planned: PlannedRun, settings: dict[str, str]) -> bool:
    """True where all of these keys are settings of a run, and have an effect on it."""
    known, unused = dict(leaf_keys(planned.config)), _unused_keys(planned.trainer)
    return all(key in known and not key.startswith(unused) for key in settings)


def _unused_keys(trainer: str) -> tuple[str, ...]:
    method = description_of(trainer)
    return (*method.ignores, *KEYS_OF_IMAGES) if method else ()


def _check_command(request: BenchmarkRequest) -> None:
    _check_no_keys_among_values(request)
    keys = Counter([*OWN_KEYS, *(key for key, _ in _axis_values(request)), *request.overrides[::2]])
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is set twice: by flags of the benchmark, --set or the KEY VALUE pairs")


def _check_no_keys_among_values(request: BenchmarkRequest) -> None:
    """Refuse KEY VALUE pairs that a flag with several values has taken in.

    Raises:
        InputError: names the flag; the error of the value itself would name another.
    """
    values = {"--trainers": request.trainers, "--shots": request.shots, "--ratios": request.ratios}
    values |= {f"--set {words[0]}": words[1:] for words in request.varied}
    keys = dict(leaf_keys(merging.new_config())).keys()
    for flag, words in values.items():
        taken = [word for word in words if word in keys]
        if taken:
            raise InputError(
                f"{flag} takes in '{taken[0]}': put a flag that takes one value, such as --seeds, before the pairs"
            )


def _axis_values(request: BenchmarkRequest) -> list[tuple[str, Sequence[str]]]:
    """The keys that the benchmark varies, with the values of each; text, as on a command line."""
    shots = [str(ALL_SHOTS) if value == "all" else value for value in request.shots]
    profile = [request.profile] if request.profile else []
    axes = [(SHOTS, shots), (RATIO, request.ratios), (PROFILE, profile)]
    axes += [(words[0], words[1:]) for words in request.varied]
    return [(key, values) for key, values in axes if values]


def _axes(request: BenchmarkRequest) -> list[list[tuple[str, str]]]:
    return [list(product([key], values)) for key, values in _axis_values(request)]


def _runs_of_cell(
    request: BenchmarkRequest, dataset: tuple[str, str], trainer: str, settings: dict[str, str]
) -> list[PlannedRun]:
    """The runs that differ in their seeds alone.

    Raises:
        InputError: no run can have these settings.
    """
    _check_values(settings)
    unused = _unused_keys(trainer)
    known = [pair for pair in settings.items() if not pair[0].startswith(unused)]
    config_file, root = dataset
    own_files = [file for name, file in request.config_of if name == trainer]
    first = RunRequest(
        trainer=trainer,
        dataset_config_file=config_file,
        root=root,
        config_files=(*request.config_files, *own_files),
        backbone=request.backbone,
        plugins=request.plugins,
        overrides=(*request.overrides, *chain.from_iterable(known)),
        seed=0,
    )
    plain = json.loads(json.dumps(make_config(first)))
    folder = cell_folder(Path(request.output_dir), plain, settings)
    return [_run_of_seed(first, plain, folder / f"seed{seed}", seed) for seed in range(request.seeds)]


def _check_values(settings: dict[str, str]) -> None:
    """Refuse numbers of shots and ratios by the flags that they were given with.

    Raises:
        InputError: a value is none, or out of its range.
    """
    shots, ratio = settings.get(SHOTS, "1"), settings.get(RATIO, "1")
    if shots != str(ALL_SHOTS) and not re.fullmatch(r"0*[1-9]\d{0,8}", shots):
        raise InputError(f"--shots {shortened(shots)}: give the images per class, at least 1, or 'all'")
    if not re.fullmatch(r"\d{1,9}(\.\d*)?", ratio) or float(ratio) < 1:
        raise InputError(f"--ratios {shortened(ratio)}: give a number, at least 1")


def _run_of_seed(first: RunRequest, plain: Mapping[str, Any], folder: Path, seed: int) -> PlannedRun:
    own = replace(first, seed=seed, output_dir=str(folder))
    return PlannedRun(folder, own, RunFacts.of({**plain, "SEED": seed, "OUTPUT_DIR": str(folder)}))
