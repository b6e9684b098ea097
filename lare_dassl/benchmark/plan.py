"""What a benchmark is to run: the product of methods, datasets, settings and seeds, each run in a folder of its own."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from .. import config, run
from ..dassl_api import TRAINER_REGISTRY
from ..embeddings.cache import file_sha256
from ..errors import InputError
from ..report.summary import UNTOLD_KEYS, UNTOLD_SECTIONS, dataset_label, shots_label
from ..split_settings import ALL_SHOTS, SplitSettings

SHOTS, RATIO, PROFILE = "DATASET.NUM_SHOTS", "DATASET.LONG_TAIL.RATIO", "DATASET.LONG_TAIL.PROFILE"
SPLIT_KEYS = (SHOTS, RATIO, PROFILE)
# Settings that decide the outcome, though tables do not list them among what sets methods apart.
COUNTED_KEYS = {"DATASET.NAME", SHOTS, RATIO, "TRAINER.NAME", "TEST.NO_TEST"}
# The plan gives these to each run.
PLANNED_KEYS = ("OUTPUT_DIR", "RESUME", "SEED", "TRAINER.NAME")
# Keys that may name a file whose content decides the outcome.
FILE_KEYS = ("DATASET.ROOT", "DATASET.SPLIT_FILE", "VLM.PROMPTS_FILE")
DIGEST_LENGTH = 10
NAME_LENGTH = 80


@dataclass(frozen=True)
class PlannedRun:
    """One run of a benchmark.

    Attributes:
        folder: its own.
        arguments: what tools/train.py would be given for it.
        config: its whole configuration, as its record will hold it.
    """

    folder: Path
    arguments: argparse.Namespace
    config: dict[str, Any]

    @property
    def trainer(self) -> str:
        """Name of the method."""
        return str(self.config["TRAINER"]["NAME"])

    def outline(self) -> dict[str, Any]:
        """What a record says of a run before there are results."""
        dataset = self.config["DATASET"]
        return {
            "dataset": dataset["NAME"],
            "shots": dataset["NUM_SHOTS"],
            "imbalance": dataset["LONG_TAIL"]["RATIO"],
            "trainer": self.trainer,
            "seed": self.config["SEED"],
            "config": self.config,
        }


@dataclass(frozen=True)
class Plan:
    """The runs of a benchmark, no two with the same folder, and a line for each refused part of the command."""

    runs: tuple[PlannedRun, ...]
    refused: tuple[str, ...]


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The product of datasets, methods, shots, ratios, values of --set, and seeds.

    Values that no run can have are refused, and so is a second run of the same settings; all others are planned.

    Args:
        arguments: see tools/benchmark.py.

    Raises:
        InputError: the command itself is at fault: a key is set twice, or there are no seeds.
    """
    _check_command(arguments)
    cells: dict[Path, list[PlannedRun]] = {}
    refused = []
    methods = product(arguments.dataset_config_file or [""], arguments.trainers)
    for (dataset_config_file, trainer), settings in product(methods, product(*_axes(arguments))):
        try:
            runs = _runs_of_cell(arguments, dataset_config_file, trainer, dict(settings))
            folder = runs[0].folder.parent
            if folder in cells:
                raise InputError(f"two runs with the same folder {folder}: the second is left out")
            cells[folder] = runs
        except InputError as error:
            refused.append(str(error))
    return Plan(tuple(run for runs in cells.values() for run in runs), tuple(dict.fromkeys(refused)))


def _check_command(arguments: argparse.Namespace) -> None:
    if arguments.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {arguments.seeds}")
    for words in arguments.set:
        if len(words) < 2:
            raise InputError(f"--set {words[0]}: give at least one value behind the key")
    for name, file in arguments.config_of:
        if name not in arguments.trainers:
            raise InputError(f"--config-of {name} {file}: {name} is not among --trainers")
    _check_no_keys_among_values(arguments)
    keys = Counter([*PLANNED_KEYS, *(key for key, _ in _axis_values(arguments)), *arguments.opts[::2]])
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is set twice: by flags of the benchmark, --set or the KEY VALUE pairs")


def _check_no_keys_among_values(arguments: argparse.Namespace) -> None:
    """A flag that takes several values takes in KEY VALUE pairs behind it too; say so, not what follows of it."""
    values = {"--trainers": arguments.trainers, "--shots": arguments.shots, "--ratios": arguments.ratios}
    values |= {f"--set {words[0]}": words[1:] for words in arguments.set}
    keys = dict(config.leaf_keys(config.new_config())).keys()
    for flag, words in values.items():
        taken = [word for word in words if word in keys]
        if taken:
            raise InputError(
                f"{flag} takes in '{taken[0]}': put a flag that takes one value, such as --seeds, before the pairs"
            )


def _axis_values(arguments: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The keys that the benchmark varies, with the values of each; text, as on a command line."""
    shots = [str(ALL_SHOTS) if value == "all" else value for value in arguments.shots]
    profile = [arguments.profile] if arguments.profile else []
    axes = [(SHOTS, shots), (RATIO, arguments.ratios), (PROFILE, profile)]
    axes += [(words[0], words[1:]) for words in arguments.set]
    return [(key, values) for key, values in axes if values]


def _axes(arguments: argparse.Namespace) -> list[list[tuple[str, str]]]:
    return [[(key, value) for value in values] for key, values in _axis_values(arguments)]


def _runs_of_cell(
    arguments: argparse.Namespace, dataset_config_file: str, trainer: str, settings: dict[str, str]
) -> list[PlannedRun]:
    """The runs that differ in their seeds alone.

    Raises:
        InputError: no run can have these settings.
    """
    words = [word for pair in settings.items() for word in pair]
    common = argparse.Namespace(
        trainer=trainer,
        dataset_config_file=dataset_config_file,
        config_file=[*arguments.config_file, *(file for name, file in arguments.config_of if name == trainer)],
        **{name: getattr(arguments, name) for name in ("root", "backbone", "plugin")},
        **{"eval_only": False, "model_dir": "", "load_epoch": None, "no_train": False},
        opts=[*arguments.opts, *words],
    )
    cfg = run.make_config(argparse.Namespace(**vars(common), seed=0))
    _check_settings(cfg)
    plain = json.loads(json.dumps(cfg))
    folder = cell_folder(Path(arguments.output_dir), plain, settings)
    return [_run_of_seed(common, plain, folder / f"seed{seed}", seed) for seed in range(arguments.seeds)]


def _run_of_seed(common: argparse.Namespace, plain: dict[str, Any], folder: Path, seed: int) -> PlannedRun:
    own = argparse.Namespace(**vars(common), seed=seed, output_dir=str(folder))
    return PlannedRun(folder, own, plain | {"SEED": seed, "OUTPUT_DIR": str(folder)})


def _check_settings(cfg: CfgNode) -> None:
    """Refuse what the split or the trainer would refuse; a trainer's check reads the configuration alone.

    Raises:
        InputError: a value is out of its range.
    """
    SplitSettings.from_cfg(cfg)
    if run.is_embedding_trainer(cfg.TRAINER.NAME):
        trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
        with _silent_log():
            trainer.__new__(trainer).check_cfg(cfg)


@contextmanager
def _silent_log() -> Iterator[None]:
    """Keep what a check warns of for the run's own log."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def cell_folder(output_dir: Path, plain: dict[str, Any], varied: Iterable[str]) -> Path:
    """The folder of the runs that differ in their seeds alone, such as out/DemoWorld/LARE/shots_4-ALPHA_0.5-0f3a….

    Args:
        output_dir: of the benchmark.
        plain: the whole configuration of one of them.
        varied: the keys that the benchmark varies; their values are part of the name.
    """
    dataset, tail = plain["DATASET"], plain["DATASET"]["LONG_TAIL"]
    words = [f"shots_{shots_label(dataset['NUM_SHOTS'])}"]
    words += [f"ratio_{tail['RATIO']:g}_{tail['PROFILE']}"] if tail["RATIO"] != 1 else []
    deciding = deciding_settings(plain)
    words += [
        f"{key.rpartition('.')[2]}_{deciding[key]}" for key in varied if key in deciding and key not in SPLIT_KEYS
    ]
    label = dataset_label({"dataset": dataset["NAME"], "config": plain})
    name = f"{_safe('-'.join(words))[:NAME_LENGTH]}-{settings_digest(plain)}"
    return output_dir / _safe(label) / _safe(plain["TRAINER"]["NAME"]) / name


def _safe(name: str) -> str:
    """A name with nothing in it that some file system does not take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "_"


def settings_digest(plain: dict[str, Any]) -> str:
    """A hash of all settings that decide the outcome, but for the seed; of files that they name the content counts."""
    settings = deciding_settings(plain)
    for key in FILE_KEYS:
        section, name = key.split(".")
        path = Path(plain[section][name]).expanduser()
        if plain[section][name] and path.is_file():
            settings[key] = _content_hash(path, path.stat().st_mtime_ns)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]


@cache
def _content_hash(path: Path, mtime_ns: int) -> str:
    """The hash of a file, read once for all cells; `mtime_ns` only tells its states apart."""
    return file_sha256(path)


def deciding_settings(plain: dict[str, Any]) -> dict[str, str]:
    """The settings that decide the outcome of a run of a given seed, as texts by their keys."""
    return {
        key: str(value)
        for key, value in config.leaf_keys(plain)
        if key not in UNTOLD_KEYS - COUNTED_KEYS and not key.startswith(UNTOLD_SECTIONS)
    }


def settings_difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What sets two configurations apart, such as "SEED is 1 there and 0 here"; "" where nothing does."""
    both = [deciding_settings(plain) | {"SEED": str(plain.get("SEED"))} for plain in (there, here)]
    keys = [key for key in both[1] | both[0] if both[0].get(key) != both[1].get(key)]
    if not keys:
        return ""
    values = [settings.get(keys[0], "not set") for settings in both]
    return f"{keys[0]} is {values[0]} there and {values[1]} here"
