"""What a benchmark is to run: the product of methods, datasets, settings and seeds, each run in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from lare_dassl.commands.checks import make_config
from lare_dassl.config import merging
from lare_dassl.config.keys import FILE_KEYS, KEYS_OF_IMAGES, OWN_KEYS, cell_settings, leaf_keys
from lare_dassl.config.request import BenchmarkRequest, RunRequest
from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.datasets.base.image_tree import images_in
from lare_dassl.errors import InputError, shortened
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.report.runs.summary import shots_label
from lare_dassl.results.run_facts import GENERIC_DATASETS, RunFacts, dataset_label
from lare_dassl.trainers.base.description import description_of

SHOTS, RATIO, PROFILE = "DATASET.NUM_SHOTS", "DATASET.LONG_TAIL.RATIO", "DATASET.LONG_TAIL.PROFILE"
NAMED_FIRST = (SHOTS, RATIO, PROFILE)
DIGEST_LENGTH = 10
NAME_LENGTH = 80


@dataclass(frozen=True)
class PlannedRun:
    """One run of a benchmark.

    Attributes:
        folder: its own.
        request: what tools/train.py would be asked for it.
        config: its whole configuration, as its record will hold it.
    """

    folder: Path
    request: RunRequest
    config: dict[str, Any]

    @property
    def trainer(self) -> str:
        """Name of the method."""
        return str(self.config["TRAINER"]["NAME"])

    @property
    def facts(self) -> RunFacts:
        """What is known of the run before there are results."""
        return RunFacts.of(self.config)


@dataclass(frozen=True)
class Plan:
    """What a benchmark is to do.

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
    _listing_hash.cache_clear()
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
    return Plan(tuple(run for runs in cells.values() for run in runs), *lines)


def _knows(planned: PlannedRun, settings: dict[str, str]) -> bool:
    """Whether all of these keys are settings of a run, and have an effect on it."""
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
    """A flag that takes several values takes in KEY VALUE pairs behind it too; say so, not what follows of it."""
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
    return [[(key, value) for value in values] for key, values in _axis_values(request)]


def _runs_of_cell(
    request: BenchmarkRequest, dataset: tuple[str, str], trainer: str, settings: dict[str, str]
) -> list[PlannedRun]:
    """The runs that differ in their seeds alone.

    Raises:
        InputError: no run can have these settings.
    """
    _check_values(settings)
    unused = _unused_keys(trainer)
    words = [word for key, value in settings.items() if not key.startswith(unused) for word in (key, value)]
    config_file, root = dataset
    own_files = [file for name, file in request.config_of if name == trainer]
    first = RunRequest(
        trainer=trainer,
        dataset_config_file=config_file,
        root=root,
        config_files=(*request.config_files, *own_files),
        backbone=request.backbone,
        plugins=request.plugins,
        overrides=(*request.overrides, *words),
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


def _run_of_seed(first: RunRequest, plain: dict[str, Any], folder: Path, seed: int) -> PlannedRun:
    own = replace(first, seed=seed, output_dir=str(folder))
    return PlannedRun(folder, own, plain | {"SEED": seed, "OUTPUT_DIR": str(folder)})


def cell_folder(output_dir: Path, plain: dict[str, Any], varied: Iterable[str]) -> Path:
    """The folder of the runs that differ in their seeds alone, such as out/DemoWorld/LARE/shots_4-ALPHA_0.5-0f3a….

    Args:
        output_dir: of the benchmark.
        plain: the whole configuration of one of them.
        varied: the keys that the benchmark varies; their values are part of the name of a folder that is new.
    """
    dataset, tail = plain["DATASET"], plain["DATASET"]["LONG_TAIL"]
    words = [f"shots_{shots_label(dataset['NUM_SHOTS'])}"]
    words += [f"ratio_{tail['RATIO']:g}_{tail['PROFILE']}"] if tail["RATIO"] != 1 else []
    deciding = cell_settings(plain)
    words += [
        f"{key.rpartition('.')[2]}_{deciding[key]}" for key in varied if key in deciding and key not in NAMED_FIRST
    ]
    folder = (
        output_dir / _safe(dataset_label(dataset["NAME"], dict(leaf_keys(plain)))) / _safe(plain["TRAINER"]["NAME"])
    )
    digest = settings_digest(plain)
    # The same settings may have been given in other words.
    there = sorted(folder.glob(f"*-{digest}"))
    return there[0] if there else folder / f"{_safe('-'.join(words))[:NAME_LENGTH]}-{digest}"


def _safe(name: str) -> str:
    """A name with nothing in it that some file system does not take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "_"


def settings_digest(plain: dict[str, Any]) -> str:
    """A hash of all settings that decide the outcome, but for the seed; of files that they name the content counts.

    Of a dataset that is any folder of images their names and sizes count, wherever it is; other datasets are known.
    """
    settings = cell_settings(plain) | {key: _content_hash(path) for key, path in _named_files(plain).items()}
    root = Path(plain["DATASET"]["ROOT"]).expanduser()
    if plain["DATASET"]["NAME"] in GENERIC_DATASETS and root.is_dir():
        folder = root / plain["DATASET"]["FOLDER"]
        settings["DATASET.ROOT"] = _listing_hash(folder if folder.is_dir() else root)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


def _named_files(plain: Mapping[str, Any]) -> dict[str, Path]:
    """The files that settings name, by their keys."""
    values = dict(leaf_keys(plain))
    paths = {key: Path(values[key]).expanduser() for key in FILE_KEYS if values[key]}
    return {key: path for key, path in paths.items() if path.is_file()}


def _content_hash(path: Path) -> str:
    return _hash_in_state(path, path.stat().st_mtime_ns)


@cache
def _hash_in_state(path: Path, mtime_ns: int) -> str:
    """The hash of a file, read once for all cells; `mtime_ns` only tells its states apart."""
    return file_sha256(path)


@cache
def _listing_hash(folder: Path) -> str:
    """The hash of the names and sizes of all images below a folder, which is searched once for all cells of a plan."""
    names = images_in(folder, dead_links=True)
    sizes = [(folder / name).stat().st_size if (folder / name).is_file() else None for name in names]
    return hashlib.sha256(json.dumps([names, sizes]).encode("utf-8", "surrogatepass")).hexdigest()


def settings_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What sets two configurations apart, such as "SEED is 1 there and 0 here"; "" where nothing does.

    Where files are is no difference: their content is in the name of the folder.
    """
    both = [cell_settings(plain) | {"SEED": str(plain.get("SEED"))} for plain in (there, here)]
    files = _named_files(here)
    keys = [key for key in both[1] | both[0] if key not in files and both[0].get(key) != both[1].get(key)]
    if not keys:
        return ""
    values = [settings.get(keys[0], "not set") for settings in both]
    return f"{keys[0]} is {values[0]} there and {values[1]} here"
