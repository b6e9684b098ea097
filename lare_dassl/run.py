"""What the command-line tools do: put a configuration together, run a trainer, show the outcome."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from yacs.config import CfgNode

from . import config, dassl_api
from .dassl_api import DATASET_REGISTRY, TRAINER_REGISTRY
from .datasets.splits import split_items
from .embeddings.embedding_file import write_embedding_file
from .encoding import build_embeddings
from .engine import check_engine, cluster_of
from .errors import InputError, unknown_name
from .files import make_folder
from .locks import LOCK_FILE, in_folder, only_one
from .logs import start_logging
from .plugin_run import PluginRun
from .record import BY_DOMAIN, METRICS
from .shard_encoding import ahead_on
from .split_settings import ALL_SHOTS
from .trainers.embedding_trainer import EmbeddingTrainer
from .trainers.run_identity import with_drawn_seed, with_seed_of

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
    cfg = make_config(arguments)
    if arguments.model_dir and not Path(arguments.model_dir).is_dir():
        raise InputError(f"--model-dir {arguments.model_dir}: there is no such folder")
    if arguments.eval_only and arguments.model_dir:
        cfg = with_seed_of(cfg, Path(arguments.model_dir))
    if not is_embedding_trainer(cfg.TRAINER.NAME):
        cfg = with_drawn_seed(cfg)
    if cfg.SEED >= 0:
        dassl_api.set_random_seed(cfg.SEED)
    if arguments.eval_only and not arguments.output_dir:
        _carry_out(arguments, cfg)
        return
    folder = make_folder(Path(cfg.OUTPUT_DIR), "--output-dir")
    with only_one(folder / LOCK_FILE, in_folder(folder, "--output-dir"), "wait for its end, or give another folder"):
        dassl_api.setup_logger(cfg.OUTPUT_DIR)
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
    show_results(trainer.results, cfg.TEST.SPLIT)


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
    start_logging()
    make_folder(Path(arguments.output).absolute().parent, "--output")
    dataset = dassl_api.build_dataset(cfg)
    with cluster_of(arguments, cfg.EMBEDDINGS.CACHE_DIR) as cluster:
        embeddings, report = build_embeddings(
            cfg, dataset, split_items(dataset, cfg), describe_domains=True, encode_ahead=ahead_on(cluster)
        )
    write_embedding_file(Path(arguments.output), embeddings, getattr(torch, arguments.dtype))
    logger.info("%d images, %d decoded now", report.images, report.decoded)
    table = Table("split", "images")
    for name, rows in embeddings.splits().items():
        table.add_row(name, f"{len(rows):,}")
    show(table)
    show(f"embedding file: {arguments.output}")


def build_trainer(cfg: CfgNode) -> EmbeddingTrainer | PluginRun:
    """The trainer that a configuration names, or a run of it where it is not ours, after the host has been told.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """
    logger.info(
        "%s on %s, host: %s (interface of Dassl %s)",
        *(cfg.TRAINER.NAME, cfg.DATASET.NAME, dassl_api.HOST, dassl_api.HOST_VERSION),
    )
    trainer = dassl_api.build_trainer(cfg)
    return trainer if isinstance(trainer, EmbeddingTrainer) else PluginRun(trainer, cfg)


def make_config(arguments: argparse.Namespace) -> CfgNode:
    """The checked configuration of a run.

    Raises:
        InputError: an unknown trainer, dataset, domain, key or plugin, or a value of another type.
    """
    cfg = merge_sources(arguments)
    check_name("trainer", "--trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY)
    check_name("dataset", "--dataset-config-file", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_domains(cfg)
    if cfg.SEED >= 2**32:
        raise InputError(f"SEED must be below 2**32, not {cfg.SEED}")
    if cfg.OUTPUT_DIR == "./output":
        cfg.OUTPUT_DIR = default_output_dir(cfg, arguments.dataset_config_file)
    return config.finish(cfg)


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
    cfg = config.new_config()
    load_plugins(arguments.plugin, cfg)
    # The method's defaults come first, but any of the sources may name the method.
    trainer = _merge(cfg.clone(), arguments).TRAINER.NAME
    if is_embedding_trainer(trainer):
        config.use_trainer_defaults(cfg, trainer)
    return _merge(cfg, arguments)


def _merge(cfg: CfgNode, arguments: argparse.Namespace) -> CfgNode:
    for path in filter(None, (arguments.dataset_config_file, *arguments.config_file)):
        config.merge_file(cfg, path)
    for flag, key in FLAG_KEYS.items():
        value = getattr(arguments, flag, None)
        if value is not None and value != "":
            _check_not_keys(cfg, flag, value)
            config.merge_key(cfg, key, value, where=f"--{flag.replace('_', '-')}")
    config.merge_overrides(cfg, arguments.opts)
    for key in ("SOURCE_DOMAINS", "TARGET_DOMAINS"):
        cfg.DATASET[key] = [str(name) for name in cfg.DATASET[key]]
    return cfg


def _check_not_keys(cfg: CfgNode, flag: str, value: Any) -> None:
    """A flag that takes several names takes in KEY VALUE pairs behind it too; say so, not what follows of it."""
    keys = set(value) & dict(config.leaf_keys(cfg)).keys() if isinstance(value, list) else set()
    if keys:
        name = f"--{flag.replace('_', '-')}"
        raise InputError(
            f"{name} takes in '{min(keys)}': put another flag, such as --seed 0, before the KEY VALUE pairs"
        )


def is_embedding_trainer(name: str) -> bool:
    """Whether a trainer is one of those on embeddings."""
    if name not in TRAINER_REGISTRY.registered_names():
        return False
    trainer = TRAINER_REGISTRY.get(name)
    return isinstance(trainer, type) and issubclass(trainer, EmbeddingTrainer)


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


def show_results(results: dict[str, float], split: str) -> None:
    """Print the figures of a test as a table."""
    if not results:
        return
    table = Table(f"measured on the {split} split", "%")
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
    Console(file=sys.stdout, highlight=False, markup=False).print(content, soft_wrap=True)
