"""What the command-line tools do: put a configuration together, run a trainer, show the outcome."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yacs.config import CfgNode

from lare_dassl.cluster.engine import check_engine, cluster_of
from lare_dassl.config import merging
from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.datasets.base.splits import check_fractions, split_items
from lare_dassl.embeddings.embedding_file import write_embedding_file
from lare_dassl.encoding.build import build_embeddings, check_names_and_texts
from lare_dassl.encoding.duplicates import check_duplicates
from lare_dassl.encoding.shards import ahead_on
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.errors import InputError, printable_lines, unknown_name
from lare_dassl.host import door
from lare_dassl.host.door import DATASET_REGISTRY, EVALUATOR_REGISTRY, TRAINER_REGISTRY
from lare_dassl.io.files import check_file, check_path, make_folder
from lare_dassl.io.locks import LOCK_FILE, in_folder, only_one
from lare_dassl.results.record import BY_DOMAIN, METRICS
from lare_dassl.system.cores import use_threads
from lare_dassl.system.logs import start_logging
from lare_dassl.trainers.base.description import description_of
from lare_dassl.trainers.base.earlier_run import check_resumable, check_testable
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer
from lare_dassl.trainers.base.plugin_run import PluginRun
from lare_dassl.trainers.base.run_identity import with_drawn_seed, with_seed_of
from lare_dassl.trainers.base.seeds_together import reason_apart, reason_apart_by_settings, train_together

logger = logging.getLogger(__name__)

FLAG_KEYS = {
    "root": "DATASET.ROOT",
    "resume": "RESUME",
    "seed": "SEED",
    "source_domains": "DATASET.SOURCE_DOMAINS",
    "target_domains": "DATASET.TARGET_DOMAINS",
    "transforms": "INPUT.TRANSFORMS",
    "trainer": "TRAINER.NAME",
    "backbone": "MODEL.BACKBONE.NAME",
    "head": "MODEL.HEAD.NAME",
    "output_dir": "OUTPUT_DIR",
}


def train(arguments: argparse.Namespace) -> None:
    """Run tools/train.py.

    Args:
        arguments: see tools/train.py.

    Raises:
        InputError: anything in files, keys or values that the user has to mend.
    """
    carry_out(checked_config(arguments), arguments)


def checked_config(arguments: argparse.Namespace) -> CfgNode:
    """The configuration of a run, after all that can be refused without data has been.

    Raises:
        InputError: see `check_flags`, `make_config` and `check_earlier_run`.
    """
    check_flags(arguments)
    cfg = make_config(arguments)
    check_earlier_run(cfg, arguments)
    return cfg


def carry_out(cfg: CfgNode, arguments: argparse.Namespace) -> None:
    """Train or test as tools/train.py does.

    Args:
        cfg: see `checked_config`.
        arguments: see tools/train.py.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """
    if arguments.eval_only and arguments.model_dir:
        cfg = with_seed_of(cfg, Path(arguments.model_dir))
    if not description_of(cfg.TRAINER.NAME):
        cfg = with_drawn_seed(cfg)
    use_threads(cfg.TRAIN.THREADS)
    if cfg.SEED >= 0:
        door.set_random_seed(cfg.SEED)
    if arguments.eval_only and not arguments.output_dir:
        _carry_out(arguments, cfg)
        return
    with _alone_in(Path(cfg.OUTPUT_DIR)):
        door.setup_logger(cfg.OUTPUT_DIR)
        _carry_out(arguments, cfg)


def _carry_out(arguments: argparse.Namespace, cfg: CfgNode) -> None:
    start_logging()
    trainer = build_trainer(cfg)
    if arguments.eval_only:
        trainer.load_model(arguments.model_dir, epoch=arguments.load_epoch)
        if arguments.output_dir:
            trainer.check_loaded_settings()
        trainer.test()
        if arguments.output_dir:
            trainer.write_record(Path(cfg.OUTPUT_DIR))
    elif not arguments.no_train:
        trainer.train()
    show_results(trainer.results, cfg.TEST.SPLIT, trainer.skipped.get(cfg.TEST.SPLIT, 0))


def train_several(several: Sequence[argparse.Namespace]) -> str:
    """Train runs that differ in their seed alone together; gives the reason where that cannot be, "" where it is done.

    Args:
        several: see tools/train.py; each names a folder of its own, and the log goes to the first.

    Raises:
        InputError: see train.
    """
    cfgs = [checked_config(arguments) for arguments in several]
    reason = reason_apart_by_settings(cfgs)
    if reason:
        return reason
    use_threads(cfgs[0].TRAIN.THREADS)
    with ExitStack() as locks:
        for cfg in cfgs:
            locks.enter_context(_alone_in(Path(cfg.OUTPUT_DIR)))
        door.setup_logger(cfgs[0].OUTPUT_DIR)
        start_logging()
        trainers = [cast(EmbeddingTrainer, build_trainer(cfg)) for cfg in cfgs]
        reason = reason_apart(trainers)
        if not reason:
            train_together(trainers)
    return reason


def _alone_in(folder: Path) -> AbstractContextManager[None]:
    """Keep other runs out of the folder of a run, which is made where it is missing."""
    made = make_folder(folder, "--output-dir")
    return only_one(made / LOCK_FILE, in_folder(made, "--output-dir"), "wait for its end, or give another folder")


def check_flags(arguments: argparse.Namespace) -> None:
    """Refuse flags of tools/train.py that contradict each other.

    Raises:
        InputError: names them.
    """
    of_eval = {"--model-dir": arguments.model_dir, "--load-epoch": arguments.load_epoch is not None}
    without_eval = {"--resume": arguments.resume, "--no-train": arguments.no_train}
    for flag, given in (without_eval if arguments.eval_only else of_eval).items():
        if given:
            raise InputError(f"{flag} has no effect {'with' if arguments.eval_only else 'without'} --eval-only")
    check_path(arguments.model_dir, "--model-dir")
    if arguments.model_dir and not Path(arguments.model_dir).is_dir():
        raise InputError(f"--model-dir {arguments.model_dir}: there is no such folder")


def check_earlier_run(cfg: CfgNode, arguments: argparse.Namespace) -> None:
    """Refuse a run's folder that the run cannot go on from, or whose model cannot be tested, before data are read.

    Raises:
        InputError: see `earlier_run`.
    """
    if not description_of(cfg.TRAINER.NAME):
        return
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if arguments.eval_only:
        check_testable(cfg, trainer, arguments.model_dir, arguments.load_epoch, recorded=bool(arguments.output_dir))
    elif not arguments.no_train:
        check_resumable(cfg, trainer)


def extract(arguments: argparse.Namespace) -> None:
    """Run tools/extract.py.

    Args:
        arguments: see tools/extract.py.

    Raises:
        InputError: anything in files, keys or values that the user has to mend.
    """
    check_engine(arguments)
    cfg = merge_sources(arguments)
    check_name("dataset", "--dataset-config-file", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_domains(cfg)
    check_names_and_texts(cfg)
    start_logging()
    use_threads(cfg.TRAIN.THREADS)
    check_file(arguments.output, "--output")
    # Where a list of unreadable images goes.
    cfg.OUTPUT_DIR = str(make_folder(Path(arguments.output).absolute().parent, "--output"))
    dataset = door.build_dataset(cfg)
    with cluster_of(arguments, cfg.EMBEDDINGS.CACHE_DIR) as cluster:
        encoded = build_embeddings(
            cfg, dataset, split_items(dataset, cfg), describe_domains=True, encode_ahead=ahead_on(cluster)
        )
    check_duplicates(cfg, dataset, encoded.split, encoded.embeddings)
    write_embedding_file(Path(arguments.output), encoded.embeddings, getattr(torch, arguments.dtype))
    logger.info("%d images, %d decoded now", encoded.report.images, encoded.report.decoded)
    skipped = count_skipped(encoded.split)
    table = Table("split", "images", *(["left out, cannot be read"] if any(skipped.values()) else []))
    for name, rows in encoded.embeddings.splits().items():
        counts = (len(rows), skipped[name])[: len(table.columns) - 1]
        table.add_row(name, *(f"{count:,}" for count in counts))
    show(table)
    show(f"embedding file: {arguments.output}")


def build_trainer(cfg: CfgNode) -> EmbeddingTrainer | PluginRun:
    """The trainer that a configuration names, or a run of it where it is not ours, after the host has been told.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """
    logger.info(
        "%s on %s, host: %s (interface of Dassl %s)",
        *(cfg.TRAINER.NAME, cfg.DATASET.NAME, door.HOST, door.HOST_VERSION),
    )
    trainer = door.build_trainer(cfg)
    return trainer if isinstance(trainer, EmbeddingTrainer) else PluginRun(trainer, cfg)


def make_config(arguments: argparse.Namespace) -> CfgNode:
    """The checked configuration of a run.

    Raises:
        InputError: an unknown trainer, dataset, evaluator, model, domain, key or plugin, a value that a key does not
            take, or settings that contradict each other.
    """
    cfg = merge_sources(arguments)
    check_name("trainer", "--trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY)
    check_name("dataset", "--dataset-config-file", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_name("evaluator", "TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY)
    check_domains(cfg)
    method = description_of(cfg.TRAINER.NAME)
    if method:
        check_settings(cfg)
    elif cfg.OPTIM.MAX_EPOCH < 1:
        raise InputError(f"OPTIM.MAX_EPOCH must be at least 1 for {cfg.TRAINER.NAME}, not {cfg.OPTIM.MAX_EPOCH}")
    elif cfg.DATASET.BAD_IMAGES != "error":
        raise InputError(
            f"DATASET.BAD_IMAGES {cfg.DATASET.BAD_IMAGES}: {cfg.TRAINER.NAME} reads the images itself, so none can be "
            "left out: mend or remove those that cannot be read"
        )
    if cfg.OUTPUT_DIR == "./output":
        cfg.OUTPUT_DIR = default_output_dir(cfg, arguments.dataset_config_file)
    return merging.finish(cfg, method.section if method else "")


def check_settings(cfg: CfgNode) -> None:
    """Refuse settings that one of our trainers cannot work with; the configuration alone is read.

    Raises:
        InputError: names the keys.
    """
    if not cfg.DATASET.SPLIT_FILE:
        check_fractions(cfg.DATASET.VAL_FRACTION, cfg.DATASET.TEST_FRACTION)
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    with _silent_log():
        trainer.__new__(trainer).check_cfg(cfg)
    check_names_and_texts(cfg)


@contextmanager
def _silent_log() -> Iterator[None]:
    """Keep what a check warns of for the run's own log."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def default_output_dir(cfg: CfgNode, dataset_config_file: str) -> str:
    """The folder of a run that names none: output/<dataset>/<trainer>/[<shots and long tail>/]seed<k>.

    The dataset is called by its config file, an embedding file by its own name.
    """
    named_by = cfg.DATASET.ROOT if cfg.DATASET.NAME == "EmbeddingFile" else dataset_config_file
    shots, ratio = cfg.DATASET.NUM_SHOTS, cfg.DATASET.LONG_TAIL.RATIO
    parts = [f"shots{shots}"] if shots != ALL_SHOTS else []
    parts += [f"{cfg.DATASET.LONG_TAIL.PROFILE}{ratio:g}"] if ratio != 1 else []
    seed = f"seed{cfg.SEED}" if cfg.SEED >= 0 else "unseeded"
    folders = ["output", Path(named_by).stem or cfg.DATASET.NAME, cfg.TRAINER.NAME, "-".join(parts), seed]
    return "/".join(filter(None, folders))


def merge_sources(arguments: argparse.Namespace) -> CfgNode:
    """Method defaults, the dataset's file, those of method and backbone, flags, KEY VALUE pairs: the later one counts.

    Raises:
        InputError: an unknown key or plugin, or a value of another type.
    """
    cfg = merging.new_config()
    load_plugins(arguments.plugin, cfg)
    # The method's defaults come first, but any of the sources may name the method.
    trainer = _merge(cfg.clone(), arguments).TRAINER.NAME
    if description_of(trainer):
        merging.use_trainer_defaults(cfg, trainer)
    return _merge(cfg, arguments)


def _merge(cfg: CfgNode, arguments: argparse.Namespace) -> CfgNode:
    for path in filter(None, (arguments.dataset_config_file, *arguments.config_file)):
        merging.merge_file(cfg, path)
    for flag, key in FLAG_KEYS.items():
        value = getattr(arguments, flag, None)
        if value is not None and value != "":
            _check_not_keys(cfg, flag, value)
            merging.merge_key(cfg, key, value, where=f"--{flag.replace('_', '-')}")
    merging.merge_overrides(cfg, arguments.opts)
    for key in ("SOURCE_DOMAINS", "TARGET_DOMAINS"):
        cfg.DATASET[key] = [str(name) for name in cfg.DATASET[key]]
    return cfg


def _check_not_keys(cfg: CfgNode, flag: str, value: Any) -> None:
    """A flag that takes several names takes in KEY VALUE pairs behind it too; say so, not what follows of it."""
    keys = set(value) & dict(merging.leaf_keys(cfg)).keys() if isinstance(value, list) else set()
    if keys:
        name = f"--{flag.replace('_', '-')}"
        raise InputError(
            f"{name} takes in '{min(keys)}': put another flag, such as --seed 0, before the KEY VALUE pairs"
        )


def load_plugins(modules: list[str], cfg: CfgNode) -> None:
    """Import modules so that they register; one that has `extend_cfg`, as Dassl's train.py does, adds its keys.

    Raises:
        InputError: a module cannot be imported.
    """
    if modules:
        sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            cause = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"--plugin {name} cannot be imported: {cause} (is its folder on PYTHONPATH?)") from error
        if hasattr(module, "extend_cfg"):
            module.extend_cfg(cfg)


def check_name(kind: str, flag: str, name: str, registry: Any) -> None:
    """Refuse a trainer or dataset that is not registered, before anything is read.

    Raises:
        InputError: names the nearest one.
    """
    if not name:
        raise InputError(f"no {kind} named: give {flag}; known: {', '.join(sorted(registry.registered_names()))}")
    if name not in registry.registered_names():
        raise unknown_name(kind, name, registry.registered_names())


def check_domains(cfg: CfgNode) -> None:
    """Refuse domains that the dataset does not have, where it says which it has.

    Raises:
        InputError: names the nearest one.
    """
    known = list(getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "domains", None) or [])
    for domain in [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS]:
        if known and domain not in known:
            raise unknown_name(f"domain of {cfg.DATASET.NAME}", domain, known)


def show_results(results: dict[str, float], split: str, skipped: int = 0) -> None:
    """Print the figures of a test as a table.

    Args:
        results: of the evaluator.
        split: that was tested.
        skipped: images of it that were left out, since they cannot be read.
    """
    if not results:
        return
    without = f" without {skipped} images that cannot be read" if skipped else ""
    table = Table(f"measured on the {split} split{without}", "%")
    for name, title in METRICS.items():
        if name in results:
            table.add_row(title, f"{results[name]:.2f}")
    for name, value in results.items():
        if name.startswith(BY_DOMAIN):
            table.add_row(f"accuracy on {name.removeprefix(BY_DOMAIN)}", f"{value:.2f}")
    show(table)


def show(content: Table | str) -> None:
    """Print a table or a line on standard output."""
    # Names from data are no markup.
    _PlainConsole(file=sys.stdout, highlight=False, markup=False).print(content, soft_wrap=True)


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable_lines(text), **options)
