"""Checks of a configuration before data are read: names, domains, settings, and the folder of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.config.assembly import run_config
from lare_dassl.config.request import RunRequest
from lare_dassl.datasets.base.hash_split import check_fractions
from lare_dassl.datasets.base.host_dataset import known_domains
from lare_dassl.encoding.build import check_names_and_texts
from lare_dassl.errors import InputError, unknown_name
from lare_dassl.host.door import DATASET_REGISTRY, EVALUATOR_REGISTRY, TRAINER_REGISTRY
from lare_dassl.trainers.base.checkpoint_reader import CheckpointReader
from lare_dassl.trainers.base.description import description_of
from lare_dassl.trainers.base.earlier_run import check_resumable, check_testable
from lare_dassl.trainers.base.run_identity import with_drawn_seed, with_seed_of


def checked_config(request: RunRequest, reader: CheckpointReader) -> CfgNode:
    """The configuration of a run, with the seed of an earlier run that it belongs to, once it is checked without data.

    Args:
        request: of the run.
        reader: keeps the checkpoints of an earlier run for the trainer.

    Raises:
        InputError: see `make_config` and `earlier_run`, or there is no folder --model-dir.
    """
    if request.model_dir and not Path(request.model_dir).is_dir():
        raise InputError(f"--model-dir {request.model_dir}: there is no such folder")
    cfg = make_config(request)
    trainer, ours = TRAINER_REGISTRY.get(cfg.TRAINER.NAME), description_of(cfg.TRAINER.NAME)
    if ours and request.eval_only:
        recorded = bool(request.output_dir)
        check_testable(cfg, trainer, request.model_dir, request.load_epoch, reader, recorded=recorded)
    if request.model_dir:
        cfg = with_seed_of(cfg, Path(request.model_dir), reader)
    if not ours:
        return with_drawn_seed(cfg)
    if not request.eval_only:
        cfg = with_seed_of(cfg, Path(cfg.RESUME or cfg.OUTPUT_DIR), reader)
        if not request.no_train:
            check_resumable(cfg, trainer, reader)
    return cfg


def make_config(request: RunRequest) -> CfgNode:
    """The checked configuration of a run.

    Raises:
        InputError: an unknown trainer, dataset, evaluator, model, domain, key or plugin, a value that a key does not
            take, or settings that contradict each other.
    """
    cfg = run_config(request, description_of)
    check_name("trainer", "--trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY)
    check_name("dataset", "--dataset-config-file", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_name("evaluator", "TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY)
    check_domains(cfg.DATASET.NAME, [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS])
    if description_of(cfg.TRAINER.NAME):
        if not cfg.DATASET.SPLIT_FILE:
            check_fractions(cfg.DATASET.VAL_FRACTION, cfg.DATASET.TEST_FRACTION)
        check_names_and_texts(cfg)
        TRAINER_REGISTRY.get(cfg.TRAINER.NAME).check_settings(cfg)
    elif cfg.OPTIM.MAX_EPOCH < 1:
        raise InputError(f"OPTIM.MAX_EPOCH must be at least 1 for {cfg.TRAINER.NAME}, not {cfg.OPTIM.MAX_EPOCH}")
    elif cfg.DATASET.BAD_IMAGES != "error":
        raise InputError(
            f"DATASET.BAD_IMAGES {cfg.DATASET.BAD_IMAGES}: {cfg.TRAINER.NAME} reads the images itself, so none can be "
            "left out: mend or remove those that cannot be read"
        )
    return cfg


def check_name(kind: str, flag: str, name: str, registry: Any) -> None:
    """Refuse a trainer or dataset that is not registered, before anything is read.

    Raises:
        InputError: names the nearest one.
    """
    if not name:
        raise InputError(f"no {kind} named: give {flag}; known: {', '.join(sorted(registry.registered_names()))}")
    if name not in registry.registered_names():
        raise unknown_name(kind, name, registry.registered_names())


def check_domains(dataset: str, domains: Iterable[str]) -> None:
    """Refuse domains that a registered dataset does not have, where it says which it has.

    Raises:
        InputError: names the nearest one.
    """
    known = known_domains(dataset)
    for domain in domains if known else ():
        if domain not in known:
            raise unknown_name(f"domain of {dataset}", domain, known)
