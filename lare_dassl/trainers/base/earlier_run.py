"""Checks of an earlier run's folder, before data are read: whether a run can go on from it, or test its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.config.keys import run_settings
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.methods.shared.fitting import MOST_EPOCHS

from .checkpoint_reader import CheckpointReader
from .description import Described
from .run_identity import (
    MODEL_FOLDER,
    check_same_model,
    check_same_run,
    check_same_settings,
    with_seed_of,
)


def checkpoint_to_resume(directory: str, resume: str) -> Path | None:
    """The checkpoint in a folder that a run goes on from; None where it starts anew.

    Raises:
        InputError: there is none, and the folder is the one that --resume names.
    """
    path = checkpoint.latest(Path(directory) / MODEL_FOLDER)
    if path is None and resume:
        raise InputError(f"--resume {directory}: there is no checkpoint in {directory}/{MODEL_FOLDER}")
    return path


def checkpoint_to_test(directory: str, epoch: int | None) -> Path:
    """The checkpoint that --eval-only tests: that of an epoch, else the best, or the last where none was selected.

    Raises:
        InputError: there is no folder given.
    """
    if not directory:
        raise InputError("--eval-only needs --model-dir, the folder of a finished run")
    folder = Path(directory) / MODEL_FOLDER
    best = folder / checkpoint.BEST
    if epoch is not None:
        return folder / checkpoint.epoch_file(epoch)
    return best if best.is_file() else checkpoint.latest(folder) or best


def check_epochs(path: Path, state: dict[str, Any], max_epoch: int) -> None:
    """Refuse to go on from a checkpoint beyond the end of the training.

    Raises:
        InputError: names both.
    """
    if state["epoch"] > max_epoch:
        raise InputError(
            f"checkpoint {path} is {state['epoch']} epochs old, beyond OPTIM.MAX_EPOCH {max_epoch}: "
            "give another --output-dir"
        )


def check_resumable(cfg: CfgNode, trainer: type[Described], reader: CheckpointReader) -> None:
    """Refuse a folder with a run that this one cannot go on from, as far as the configuration shows.

    Args:
        cfg: the whole configuration.
        trainer: the class of one of our trainers.
        reader: keeps the checkpoints for the trainer.

    Raises:
        InputError: a checkpoint is missing, damaged, of a run with other settings, or beyond OPTIM.MAX_EPOCH.
    """
    directory = cfg.RESUME or cfg.OUTPUT_DIR
    settings = run_settings(with_seed_of(cfg, Path(directory), reader))
    path = checkpoint_to_resume(directory, cfg.RESUME)
    if path is not None:
        state = reader.read(path)
        check_same_run(path, _known(state, "run", settings), settings)
        check_epochs(path, state, cfg.OPTIM.MAX_EPOCH or MOST_EPOCHS)
    path = checkpoint.latest(Path(directory) / trainer.stage_folder) if trainer.stage_folder else None
    if path is not None:
        check_same_run(path, _known(reader.read(path), "run", settings), settings)


def check_testable(
    cfg: CfgNode,
    trainer: type[Described],
    directory: str,
    epoch: int | None,
    reader: CheckpointReader,
    *,
    recorded: bool,
) -> None:
    """Refuse a folder whose model cannot be tested, as far as the configuration shows.

    Args:
        cfg: the whole configuration.
        trainer: the class of one of our trainers.
        directory: of --model-dir.
        epoch: of --load-epoch.
        reader: keeps the checkpoint for the trainer.
        recorded: a record is to be written, which needs the settings of the training.

    Raises:
        InputError: the checkpoint is missing, damaged, of another method, or, for a record, of other settings.
    """
    if not directory and not trainer.trains:
        return
    path = checkpoint_to_test(directory, epoch)
    state = reader.read(path)
    method = {"trainer": cfg.TRAINER.NAME}
    check_same_model(path, _known(state, "model", method), method)
    if recorded:
        settings = run_settings(cfg)
        check_same_settings(path, _known(state, "run", settings), settings)


def _known(state: dict[str, Any], part: str, identity: dict[str, str]) -> dict[str, Any]:
    """A checkpoint with the part of its identity that is known without data."""
    there = state.get(part)
    return state | {part: {key: there[key] for key in identity if key in there}} if isinstance(there, dict) else state
