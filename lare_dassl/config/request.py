"""Requests to the commands: frozen and typed, made from a command line in `tools/` and checked here.

A field that sets a key of the configuration names that key. Defaults of flags stand here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from lare_dassl.errors import InputError
from lare_dassl.io.files import check_path
from lare_dassl.methods.shared.settings import AT_LEAST_1, Allowed

Request = TypeVar("Request")

LOCAL = "local"
SEEDS = Allowed(1, 10_000)
WORKERS_OF_RUNS = Allowed(1, 1024)
CLUSTER_RANGES = {"ray_cpus": Allowed(0.01), "ray_gpus": Allowed(0), "ray_wait": Allowed(0)}


def flag_of(name: str) -> str:
    """The flag that gives a field.

    >>> flag_of("model_dir")
    '--model-dir'
    """
    return f"--{name.replace('_', '-')}"


def check_flag(flag: str, value: float | None, allowed: Allowed) -> None:
    """Refuse a number of a command line; None, for a flag that is not given, passes.

    Raises:
        InputError: names the flag, its value, and what is allowed.
    """
    fault = "" if value is None else allowed.fault(value)
    if fault:
        raise InputError(f"{flag} {fault}")


def _sets(key: str, default: Any = "") -> Any:
    """A field that sets a key of the configuration where it is given."""
    return field(default=default, metadata={"key": key})


@dataclass(frozen=True, kw_only=True)
class DataRequest:
    """Which data and which frozen model a command works with: configuration files, flags and KEY VALUE pairs.

    Attributes:
        root: folder of the datasets.
        seed: of everything; None for the one of the run that is gone on from, or one that is drawn.
        source_domains: domains to train on.
        target_domains: domains never trained on.
        backbone: the frozen model.
        dataset_config_file: YAML with the dataset's settings.
        config_files: YAML with further settings; the later one counts.
        plugins: modules that register trainers and datasets.
        overrides: keys and values in turn, stronger than all files and flags.
    """

    root: str = _sets("DATASET.ROOT")
    seed: int | None = _sets("SEED", None)
    source_domains: tuple[str, ...] = _sets("DATASET.SOURCE_DOMAINS", ())
    target_domains: tuple[str, ...] = _sets("DATASET.TARGET_DOMAINS", ())
    backbone: str = _sets("MODEL.BACKBONE.NAME")
    dataset_config_file: str = ""
    config_files: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()

    def given(self) -> Iterator[tuple[str, str, Any]]:
        """Flag, key and value of each field that sets a key and is given.

        >>> list(DataRequest(root="data", seed=0).given())
        [('--root', 'DATASET.ROOT', 'data'), ('--seed', 'SEED', 0)]
        """
        for one in fields(self):
            value = getattr(self, one.name)
            if "key" in one.metadata and value not in (None, "", ()):
                yield flag_of(one.name), one.metadata["key"], list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class RunRequest(DataRequest):
    """One run: train or test one method on one dataset with one seed.

    Attributes:
        trainer: name of the method.
        output_dir: folder of the run.
        transforms: data augmentation, for trainers on images.
        head: for trainers on images.
        resume: folder of a run to go on from.
        eval_only: test a trained model, do not train.
        model_dir: folder of the run whose model is tested.
        load_epoch: epoch of the checkpoint that is tested; None for the best, else the last.
        no_train: build everything, but do not train.

    Raises:
        InputError: two flags contradict each other.

    >>> RunRequest(trainer="LARE", load_epoch=3)
    Traceback (most recent call last):
    lare_dassl.errors.InputError: --load-epoch has no effect without --eval-only
    """

    trainer: str = _sets("TRAINER.NAME")
    output_dir: str = _sets("OUTPUT_DIR")
    transforms: tuple[str, ...] = _sets("INPUT.TRANSFORMS", ())
    head: str = _sets("MODEL.HEAD.NAME")
    resume: str = _sets("RESUME")
    eval_only: bool = False
    model_dir: str = ""
    load_epoch: int | None = None
    no_train: bool = False

    def __post_init__(self) -> None:
        of_eval = {"--model-dir": self.model_dir, "--load-epoch": self.load_epoch is not None}
        of_training = {"--resume": self.resume, "--no-train": self.no_train}
        for flag, given in (of_training if self.eval_only else of_eval).items():
            if given:
                raise InputError(f"{flag} has no effect {'with' if self.eval_only else 'without'} --eval-only")
        check_path(self.model_dir, "--model-dir")


@dataclass(frozen=True, kw_only=True)
class ClusterRequest:
    """Where the work of a command is done: on this machine, or on a cluster of Ray.

    Attributes:
        engine: "local" or "ray".
        ray_address: head of the cluster.
        ray_cpus: cores of each task; None for as many as it has threads.
        ray_gpus: GPUs of each task; None for what suits the task.
        ray_wait: seconds to wait for a node that can run tasks; None for the default.

    Raises:
        InputError: a flag of another engine, or a value out of its range.
    """

    engine: str = LOCAL
    ray_address: str = ""
    ray_cpus: float | None = None
    ray_gpus: float | None = None
    ray_wait: float | None = None

    def __post_init__(self) -> None:
        for name in ("ray_address", "ray_cpus", "ray_gpus", "ray_wait"):
            if self.engine == LOCAL and getattr(self, name) not in (None, ""):
                raise InputError(f"{flag_of(name)} has no effect without --engine ray")
        for name, allowed in CLUSTER_RANGES.items():
            check_flag(flag_of(name), getattr(self, name), allowed)


@dataclass(frozen=True, kw_only=True)
class ExtractRequest(DataRequest, ClusterRequest):
    """Encode a dataset and write its embeddings to one file.

    Attributes:
        output: the embedding file.
        dtype: of the embeddings in it.
    """

    output: str
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest(ClusterRequest):
    """The product of methods, shots, ratios, datasets, settings and seeds.

    Attributes:
        trainers: names of the methods.
        dataset_config_files: YAML of each dataset.
        roots: folder of the datasets; one for all, or one for each dataset.
        shots: images per class, as texts; "all" for all.
        ratios: of the largest class to the smallest, as texts.
        profile: of the long tail; "" for the default.
        seeds: number of seeds, from 0.
        varied: keys, each with the values to try behind it.
        config_files: YAML with further settings of all runs.
        config_of: name of a method, and YAML with further settings of its runs alone.
        backbone: the frozen model.
        plugins: modules that register trainers and datasets.
        overrides: keys and values in turn, for all runs.
        output_dir: holds a folder for each run.
        jobs: runs side by side; None for as many as the machine allows.
        together: "yes", "no" or "auto": whether the seeds of a setting are trained at once.
        threads: of each run.

    Raises:
        InputError: a value out of its range, or flags that contradict each other.
    """

    trainers: tuple[str, ...]
    dataset_config_files: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    shots: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    profile: str = ""
    seeds: int = 5
    varied: tuple[tuple[str, ...], ...] = ()
    config_files: tuple[str, ...] = ()
    config_of: tuple[tuple[str, str], ...] = ()
    backbone: str = ""
    plugins: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    output_dir: str = "output/benchmark"
    jobs: int | None = None
    together: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        check_flag("--jobs", self.jobs, WORKERS_OF_RUNS)
        check_flag("--threads", self.threads, WORKERS_OF_RUNS)
        check_flag("--seeds", self.seeds, SEEDS)
        if not self.output_dir:
            raise InputError("--output-dir is empty: name the folder of the runs")
        check_path(self.output_dir, "--output-dir")
        super().__post_init__()
        if self.engine != LOCAL and self.jobs is not None:
            raise InputError("--jobs has no effect with --engine ray: --ray-cpus says how many runs fit on a node")
        for words in self.varied:
            if len(words) < 2:
                raise InputError(f"--set {words[0]}: give at least one value behind the key")
        for name, file in self.config_of:
            if name not in self.trainers:
                raise InputError(f"--config-of {name} {file}: {name} is not among --trainers")

    def datasets(self) -> list[tuple[str, str]]:
        """The config file and the root of each dataset.

        Raises:
            InputError: there are several roots, but not one for each dataset.
        """
        files, roots = self.dataset_config_files or ("",), self.roots or ("",)
        if len(roots) not in (1, len(files)):
            raise InputError(
                f"--root is given {len(roots)} times for {len(files)} datasets: give it once, or once for each "
                "--dataset-config-file, in their order"
            )
        return list(zip(files, roots if len(roots) == len(files) else roots * len(files), strict=True))


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Classify images with a trained run.

    Attributes:
        images: files and folders.
        model_dir: folder of the run, or its classifier file.
        top: classes to name for each image.
        json: one JSON object for each image, not a table.
        backbone: the frozen model, where it is called otherwise here.
        pretrained: its weights, where they have moved.
        batch_size: images encoded at once.

    Raises:
        InputError: a number out of its range, or a name that no file can have.
    """

    images: tuple[str, ...]
    model_dir: str
    top: int = 5
    json: bool = False
    backbone: str = ""
    pretrained: str = ""
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_flag("--top", self.top, AT_LEAST_1)
        check_flag("--batch-size", self.batch_size, AT_LEAST_1)
        for name in ("model_dir", "backbone", "pretrained"):
            check_path(getattr(self, name), flag_of(name))
        for place in self.images:
            if not place:
                raise InputError("an image or folder is named '': name it, or leave it out")
            check_path(place, "an image or folder")
        if not Path(self.model_dir).expanduser().exists():
            raise InputError(f"--model-dir {self.model_dir}: there is no such run")


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """Get the files of a dataset, unpack them, and verify what is there.

    Attributes:
        name: of the dataset.
        root: folder of the datasets.
        no_download: use only what is there.
        sample: number of images to decode, or "all".
        delete_archives: delete archives once all is in its place.
        overrides: keys and values in turn.
    """

    name: str
    root: str = "data"
    no_download: bool = False
    sample: str = "200"
    delete_archives: bool = False
    overrides: tuple[str, ...] = ()


def request_of(kind: Callable[..., Request], flags: Mapping[str, Any]) -> Request:
    """The request of a kind that the flags of a command line make; lists become tuples.

    >>> request_of(RunRequest, {"seed": 3, "source_domains": ["photo"]}).source_domains
    ('photo',)
    """
    return kind(**{name: _frozen(value) for name, value in flags.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
