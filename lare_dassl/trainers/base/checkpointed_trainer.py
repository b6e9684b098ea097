"""Checkpoints of a classifier on embeddings, in Dassl's file layout: whole, and refused where they do not belong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.errors import unwritable
from lare_dassl.host.door import TrainerX
from lare_dassl.io import checkpoint

from .checkpoint_reader import CheckpointReader
from .earlier_run import check_epochs, checkpoint_to_resume, checkpoint_to_test
from .run_identity import (
    MODEL_FOLDER,
    check_same_model,
    check_same_record,
    check_same_run,
    check_same_settings,
    model_identity,
    run_identity,
)
from .stage_clock import StageClock

logger = logging.getLogger(__name__)

# Entries that a checkpoint must have to be tested, and to go on from.
LOADED = ("epoch", "seed", "run")
RESUMED = ("epoch", "optimizer", "scheduler", "best_result", "max_epoch", "seconds")


class CheckpointedTrainer(TrainerX):
    """Saves, resumes and loads one model; what Dassl 0.6.3 loses on resuming, or crashes on, is overridden.

    A subclass sets the attributes below.

    Attributes:
        model: the classifier.
        optim: its optimiser; None where nothing is trained.
        sched: its schedule; None where nothing is trained.
        embeddings: that it is trained and tested on.
        seed: of the run.
        clock: the times of its stages.
        together: the greatest number of runs that were trained at once with this one, itself included.
        reader: of the checkpoints of an earlier run.
        loaded: path and content of the checkpoint that `load_model` has loaded; None before.
        begun: training has begun, so that a record in the run's folder is of an earlier one.
    """

    model: nn.Module
    optim: Any
    sched: Any
    embeddings: EmbeddingSet
    seed: int
    clock: StageClock
    reader: CheckpointReader
    loaded: tuple[Path, dict[str, Any]] | None = None
    together: int = 1
    begun = False

    @cached_property
    def identity(self) -> dict[str, str]:
        """The identity of the run, see run_identity, with that of the method."""
        return run_identity(self.cfg, self.embeddings) | self.method_identity()

    def method_identity(self) -> dict[str, str]:
        """Further facts that determine the training of this method, beside the settings."""
        return {}

    def check_loaded_settings(self) -> None:
        """Refuse to write a record where the loaded model was trained with other settings than the configuration's.

        Raises:
            InputError: names the first difference.
        """
        if self.loaded is not None:
            check_same_settings(*self.loaded, self.identity)

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write the classifier's checkpoint, whole or not at all, to `<directory>/model/`.

        The arguments are Dassl's, see TrainerBase.save_model in host/builtin/models.py.
        """
        state = {
            "state_dict": self.model.state_dict(),
            "epoch": epoch + 1,
            "optimizer": self.optim.state_dict() if self.optim else None,
            "scheduler": self.sched.state_dict() if self.sched else None,
            "val_result": val_result,
            "best_result": float(self.best_result),
            "max_epoch": self.max_epoch,
            "seconds": self.clock.seconds(),
            "seed": self.seed,
            "together": self.together,
            "run": self.identity,
            "model": model_identity(self.cfg, self.embeddings),
        }
        names = [model_name or checkpoint.epoch_file(epoch + 1)] + ([checkpoint.BEST] if is_best else [])
        for name in reversed(names):
            checkpoint.write(state, Path(directory) / MODEL_FOLDER, name)

    def resume_model_if_exist(self, directory: str) -> int:
        """Go on from the latest checkpoint in a run's folder; gives the number of epochs done, 0 where there is none.

        Raises:
            InputError: the checkpoint is damaged, beyond OPTIM.MAX_EPOCH, or of a run with other settings or data.
        """
        path = checkpoint_to_resume(directory, self.cfg.RESUME)
        if path is None:
            return 0
        state = self.reader.take(path)
        check_same_run(path, state, self.identity)
        checkpoint.check_holds(path, state, RESUMED)
        check_epochs(path, state, self.max_epoch)
        checkpoint.load_weights(self.model, state, path)
        if self.optim and self.sched:
            load_optimizer(self.optim, self.sched, state)
        if state["max_epoch"] != self.max_epoch and self.cfg.OPTIM.LR_SCHEDULER == "cosine":
            logger.warning(
                "the cosine schedule goes on as one of %d epochs; it was %d", self.max_epoch, state["max_epoch"]
            )
        self.best_result = state["best_result"]
        self.together = max(self.together, state.get("together", 1))
        self.clock.take_over(state["seconds"])
        self._take_best(path.with_name(checkpoint.BEST))
        logger.info("resuming after epoch %d from %s", state["epoch"], path)
        return int(state["epoch"])

    def init_writer(self, log_dir: str) -> None:
        """Open tensorboard's event file in a folder; a second call does nothing."""
        with self._writing_events():
            super().init_writer(log_dir)

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a value to tensorboard, if its event file is open."""
        with self._writing_events():
            super().write_scalar(tag, scalar_value, global_step)

    @contextmanager
    def _writing_events(self) -> Iterator[None]:
        """Turn a failing disk into an InputError; tensorboard's thread hands its error to the next call."""
        try:
            yield
        except OSError as error:
            raise unwritable(f"to {Path(self.output_dir) / 'tensorboard'}", error) from error

    def _take_best(self, best: Path) -> None:
        """Bring along the best model so far where the run goes on in another folder."""
        folder = Path(self.output_dir) / MODEL_FOLDER
        if self.cfg.TEST.FINAL_MODEL == "best_val" and best.is_file() and best.parent.resolve() != folder.resolve():
            checkpoint.write(self.reader.take(best), folder, checkpoint.BEST)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the classifier after `epoch` epochs; without a number the best one, or the last where none was selected.

        Raises:
            InputError: the checkpoint is missing, damaged, of another model, or not of the run whose record is in the
                folder.
        """
        path = checkpoint_to_test(directory, epoch)
        state = self.reader.take(path)
        check_same_model(path, state, model_identity(self.cfg, self.embeddings))
        checkpoint.check_holds(path, state, LOADED)
        if not self.begun:
            check_same_record(Path(directory), path, state)
        checkpoint.load_weights(self.model, state, path)
        self.epoch = state["epoch"] - 1
        self.seed = state["seed"]
        self.loaded = path, state
        logger.info("loaded %s (epoch %d)", path, state["epoch"])


def load_optimizer(optimizer: Any, schedule: Any, state: dict[str, Any]) -> None:
    """Load optimiser and schedule of a checkpoint, but for the learning rate at the start: this run has its own.

    It follows from the number of epochs too, which a run that goes on may change.
    """
    rates = list(schedule.base_lrs)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["scheduler"])
    schedule.base_lrs = rates
    for group, rate, factor in zip(optimizer.param_groups, rates, schedule.lr_lambdas, strict=True):
        group["initial_lr"] = rate
        group["lr"] = rate * factor(schedule.last_epoch)
