"""The command `train`: train or test one method on one dataset with one seed, or several seeds at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import cast

from yacs.config import CfgNode

from lare_dassl.config.keys import of_other_trainers
from lare_dassl.config.request import RunRequest
from lare_dassl.host import door
from lare_dassl.io.files import make_folder
from lare_dassl.io.locks import LOCK_FILE, in_folder, only_one
from lare_dassl.system.cores import use_threads
from lare_dassl.system.logs import start_logging
from lare_dassl.trainers.base.checkpoint_reader import CheckpointReader
from lare_dassl.trainers.base.description import description_of
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer
from lare_dassl.trainers.base.plugin_run import PluginRun
from lare_dassl.trainers.base.seeds_together import reason_apart, reason_apart_by_settings, train_together

from .checks import checked_config
from .console import show_results

logger = logging.getLogger(__name__)


def train(request: RunRequest) -> None:
    """Run tools/train.py.

    Raises:
        InputError: anything in files, keys or values that the user has to mend.
    """
    reader = CheckpointReader()
    carry_out(checked_config(request, reader), request, reader)


def carry_out(cfg: CfgNode, request: RunRequest, reader: CheckpointReader) -> None:
    """Train or test as tools/train.py does.

    Args:
        cfg: see `checked_config`.
        request: of the run.
        reader: has read the checkpoints of an earlier run.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """
    use_threads(cfg.TRAIN.THREADS)
    if cfg.SEED >= 0:
        door.set_random_seed(cfg.SEED)
    if request.eval_only and not request.output_dir:
        _carry_out(request, cfg, reader)
        return
    with _alone_in(Path(cfg.OUTPUT_DIR)):
        door.setup_logger(cfg.OUTPUT_DIR)
        _carry_out(request, cfg, reader)


def _carry_out(request: RunRequest, cfg: CfgNode, reader: CheckpointReader) -> None:
    start_logging()
    _warn_of_other_sections(request, cfg)
    trainer = build_trainer(cfg)
    if isinstance(trainer, EmbeddingTrainer):
        trainer.reader = reader
    if request.eval_only:
        trainer.load_model(request.model_dir, epoch=request.load_epoch)
        if request.output_dir:
            trainer.check_loaded_settings()
        trainer.test()
        if request.output_dir:
            trainer.write_record(Path(cfg.OUTPUT_DIR))
    elif not request.no_train:
        trainer.train()
    show_results(trainer.results, cfg.TEST.SPLIT, trainer.skipped.get(cfg.TEST.SPLIT, 0))


def _warn_of_other_sections(request: RunRequest, cfg: CfgNode) -> None:
    """Name the keys of the command line that belong to another trainer; those of files are no mistake."""
    method = description_of(cfg.TRAINER.NAME)
    section = method.section if method else f"TRAINER.{cfg.TRAINER.NAME.upper()}"
    others = of_other_trainers(request.overrides[::2], section)
    if others:
        logger.warning("set, but read by nothing in this run of %s: %s", cfg.TRAINER.NAME, ", ".join(others))


def build_trainer(cfg: CfgNode) -> EmbeddingTrainer | PluginRun:
    """The trainer that a configuration names, or a run of it where it is not ours; the log names the host.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """
    logger.info(
        "%s on %s, host: %s (interface of Dassl %s)",
        *(cfg.TRAINER.NAME, cfg.DATASET.NAME, door.HOST, door.HOST_VERSION),
    )
    trainer = door.build_trainer(cfg)
    return trainer if isinstance(trainer, EmbeddingTrainer) else PluginRun(trainer, cfg)


def train_several(several: Sequence[RunRequest]) -> str:
    """Train runs that differ in their seed alone together; gives the reason where that cannot be, "" where it is done.

    Args:
        several: each names a folder of its own, and the log goes to the first.

    Raises:
        InputError: see train.
    """
    cfgs = [checked_config(request, CheckpointReader()) for request in several]
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
