"""The loop of stage 2: epochs over the training batches, their figures, and the checkpoints that are due."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from lare_dassl.embeddings.loaders import EmbeddingBatch
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint

from .checkpointed_trainer import CheckpointedTrainer
from .optimisation import probe_figures, worth_a_line

logger = logging.getLogger(__name__)


class LoopTrainer(CheckpointedTrainer):
    """Trains a classifier on batches of embeddings, epoch by epoch.

    Attributes:
        log_prefix: text before the lines of the log that report progress.
    """

    log_prefix = ""

    def run_epoch(self) -> None:
        """One pass over the training batches; figures are gathered on the device and read once."""
        with self.clock.timed("stage2"):
            self.set_model_mode("train")
            self.num_batches = len(self.train_loader_x)
            self.train_loader_x.set_epoch(self.epoch)
            sums: dict[str, Any] = defaultdict(float)
            for index, batch in enumerate(self.train_loader_x):
                self.batch_idx = index
                for name, value in self.forward_backward(batch).items():
                    sums[name] += value
            self.report_epoch({name: float(value) / self.num_batches for name, value in sums.items()})
            self.update_lr()

    def forward_backward(self, batch: EmbeddingBatch) -> dict[str, Tensor]:
        """One step on a batch; gives its mean loss and its accuracy in percent as scalar tensors."""
        loss, accuracy = probe_figures(self.model, batch.embedding, batch.label)
        self.optim.zero_grad()
        loss.backward()
        self.optim.step()
        return {"loss": loss.detach(), "accuracy": accuracy}

    def report_epoch(self, means: dict[str, float]) -> None:
        """Write an epoch's figures to tensorboard, and every so often to the log.

        Raises:
            InputError: the loss is no longer finite.
        """
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise InputError(
                f"the loss is {means['loss']} in epoch {self.epoch + 1}: lower OPTIM.LR ({self.cfg.OPTIM.LR})"
            )
        for name, value in means.items():
            self.write_scalar(f"train/{name}", value, self.epoch + 1)
        self.write_scalar("train/lr", self.optim.param_groups[0]["lr"], self.epoch + 1)
        if worth_a_line(self.epoch + 1, self.max_epoch):
            line = "%sepoch %d/%d: loss %.4f, training accuracy %.1f %%"
            epochs = (self.epoch + 1, self.max_epoch)
            logger.info(line, self.log_prefix, *epochs, means["loss"], means["accuracy"])

    def after_epoch(self) -> None:
        """Under best_val, keep the model that does best on the source domains' validation rows; write checkpoints."""
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=checkpoint.BEST)
        done, every = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (every > 0 and done % every == 0):
            self.save_model(self.epoch, self.output_dir)
