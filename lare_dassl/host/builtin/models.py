"""Registered models of a trainer: modes, optimiser steps, checkpoints and tensorboard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lare_dassl.io import checkpoint

logger = logging.getLogger(__name__)


class TrainerBase:
    """Models by name, each with its optimiser and schedule."""

    def __init__(self) -> None:
        self._models: dict[str, nn.Module] = {}
        self._optims: dict[str, Any] = {}
        self._scheds: dict[str, Any] = {}
        self._writer: Any = None

    def register_model(
        self, name: str = "model", model: nn.Module | None = None, optim: Any = None, sched: Any = None
    ) -> None:
        """Add a model under a new name. A frozen model needs no optimiser and no schedule.

        Raises:
            AttributeError: called before `super().__init__()`.
            AssertionError: the name is taken, or no model is given.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise AssertionError(f"a model named '{name}' is already registered")
        if model is None:
            raise AssertionError(f"no model given under the name '{name}'")
        self._models[name], self._optims[name], self._scheds[name] = model, optim, sched

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        """The given names as a list, or all names.

        Raises:
            AssertionError: no model has one of the names.
        """
        if names is None:
            return list(self._models)
        chosen = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in chosen if name not in self._models]
        if unknown:
            raise AssertionError(f"no model named '{unknown[0]}' among {list(self._models)}")
        return chosen

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write a checkpoint of each model into a folder of its name.

        Args:
            epoch: the epoch just finished, counted from 0.
            directory: the run's folder.
            is_best: write `model-best.pth.tar` too.
            val_result: validation result of the model, in percent.
            model_name: file name; by default `model.pth.tar-<epochs done>`.
        """
        for name in self._models:
            state = self._checkpoint(name, epoch, val_result)
            folder = Path(directory) / name
            if is_best:
                checkpoint.write(state, folder, checkpoint.BEST)
            checkpoint.write(state, folder, model_name or checkpoint.epoch_file(epoch + 1))

    def _checkpoint(self, name: str, epoch: int, val_result: float | None) -> dict[str, Any]:
        optim, sched = self._optims[name], self._scheds[name]
        return {
            "state_dict": self._models[name].state_dict(),
            "epoch": epoch + 1,
            "optimizer": None if optim is None else optim.state_dict(),
            "scheduler": None if sched is None else sched.state_dict(),
            "val_result": None if val_result is None else float(val_result),
        }

    def resume_model_if_exist(self, directory: str) -> int:
        """Load the latest checkpoint of each model, with its optimiser and schedule.

        Args:
            directory: the run's folder.

        Returns:
            The number of epochs done; 0 where a model has no checkpoint.

        Raises:
            InputError: a checkpoint is damaged or of another model.
        """
        found = {name: checkpoint.latest(Path(directory) / name) for name in self._models}
        epochs = [self._resume(name, path) for name, path in found.items() if path and all(found.values())]
        if not epochs:
            logger.info("no checkpoint in %s: training starts at the first epoch", directory)
            return 0
        logger.info("resuming after epoch %d from %s", epochs[-1], directory)
        return epochs[-1]

    def _resume(self, name: str, path: Path) -> int:
        state = checkpoint.read(path)
        checkpoint.check_holds(path, state, ["epoch"])
        checkpoint.load_weights(self._models[name], state, path)
        for part, key in ((self._optims[name], "optimizer"), (self._scheds[name], "scheduler")):
            if part is not None and state.get(key) is not None:
                part.load_state_dict(state[key])
        return int(state["epoch"])

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load each model's weights from the checkpoint after `epoch` epochs, or from the best one.

        Args:
            directory: the run's folder; with an empty name nothing is loaded.
            epoch: number of epochs done at the checkpoint; None for the best one.

        Raises:
            InputError: a checkpoint is missing, damaged or of another model.
        """
        if not directory:
            logger.info("no folder is given: no model is loaded")
            return
        file_name = checkpoint.BEST if epoch is None else checkpoint.epoch_file(epoch)
        for name, model in self._models.items():
            path = Path(directory) / name / file_name
            state = checkpoint.read(path)
            checkpoint.load_weights(model, state, path)
            logger.info(
                "%s loaded from %s (epoch %s, validation %s)", name, path, state.get("epoch"), state.get("val_result")
            )

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Put models into "train" mode, or into "test" (the same as "eval") mode.

        Raises:
            KeyError: unknown mode.
        """
        training = {"train": True, "test": False, "eval": False}[mode]
        for name in self.get_model_names(names):
            self._models[name].train(training)

    def update_lr(self, names: str | list[str] | None = None) -> None:
        """Step the schedules by one epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        """Learning rate of the first model's first parameter group."""
        optim = self._optims[self.get_model_names(names)[0]]
        return float(optim.param_groups[0]["lr"])

    def detect_anomaly(self, loss: Tensor) -> None:
        """Refuse a loss that is infinite or NaN.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if not torch.isfinite(loss).all():
            raise FloatingPointError("the loss is infinite or NaN: lower OPTIM.LR, or check the inputs")

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        """Reset the gradients."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: Tensor) -> None:
        """Compute gradients of a finite loss."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        """Step the optimisers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: Tensor, names: str | list[str] | None = None) -> None:
        """Reset the gradients, compute new ones and step the optimisers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def init_writer(self, log_dir: str) -> None:
        """Open tensorboard's event file in a folder, if none is open."""
        if self._writer is None:
            # Importing tensorboard takes seconds, and an evaluation does not need it.
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

            self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close tensorboard's event file, if it is open."""
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a value to tensorboard, if its event file is open."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)
