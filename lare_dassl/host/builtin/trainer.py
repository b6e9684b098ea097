"""The training loop."""

from __future__ import annotations

import datetime
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from lare_dassl.io import checkpoint

from .evaluation import build_evaluator
from .models import TrainerBase
from .registry import Registry

logger = logging.getLogger(__name__)

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: CfgNode) -> Any:
    """The trainer named by `cfg.TRAINER.NAME`.

    Raises:
        InputError: no trainer of that name is registered.
    """
    return TRAINER_REGISTRY.find(cfg.TRAINER.NAME)(cfg)


class TrainerX(TrainerBase):
    """Trains on labelled batches, evaluates, keeps the last or the best model.

    A subclass defines `build_data_loader`, `build_model` and `forward_backward`, and may override the other methods.

    Args:
        cfg: the whole configuration.
    """

    train_loader_x: Any
    train_loader_u: Any
    val_loader: Any
    test_loader: Any
    num_classes: int
    num_source_domains: int
    lab2cname: dict[int, str]
    model: nn.Module
    batch_idx: int
    num_batches: int

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch: int = cfg.OPTIM.MAX_EPOCH
        self.output_dir: str = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator: Any = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = float("-inf")

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuse settings that the trainer cannot use. A subclass may override it."""

    def build_data_loader(self) -> None:
        """Set `train_loader_x`, `val_loader` (may be None), `test_loader`, `num_classes` and `lab2cname`."""
        raise NotImplementedError(f"trainer '{type(self).__name__}' must define build_data_loader()")

    def build_model(self) -> None:
        """Set `model` and register it with its optimiser and schedule."""
        raise NotImplementedError(f"trainer '{type(self).__name__}' must define build_model()")

    def forward_backward(self, batch: Any) -> Mapping[str, Any] | None:
        """Take one training step on a batch; returns the figures to log."""
        raise NotImplementedError(f"trainer '{type(self).__name__}' must define forward_backward()")

    def train(self) -> None:
        """Run the epochs that are not done yet, with their hooks."""
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Resume from a checkpoint if there is one, and open tensorboard's event file."""
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        if self.start_epoch and Path(directory) == Path(self.output_dir):
            self.best_result = self._best_so_far()
        self.init_writer(str(Path(self.output_dir) / "tensorboard"))
        self.time_start = time.time()

    def _best_so_far(self) -> float:
        """Validation result of the best checkpoint, which a later epoch must exceed to replace it."""
        results = [float("-inf")]
        for name in self.get_model_names()[:1]:
            path = Path(self.output_dir) / name / checkpoint.BEST
            if path.is_file():
                results.append(checkpoint.read(path)["val_result"])
        return max(results)

    def before_epoch(self) -> None:
        """Hook before each epoch. A subclass may override it."""

    def run_epoch(self) -> None:
        """One pass over the training batches."""
        self.set_model_mode("train")
        self.num_batches = len(self.train_loader_x)
        values: dict[str, list[float]] = defaultdict(list)
        started = time.time()
        for index, batch in enumerate(self.train_loader_x):
            self.batch_idx = index
            for name, value in (self.forward_backward(batch) or {}).items():
                values[name].append(float(value))
            self._write_step({name: sum(seen) / len(seen) for name, seen in values.items()})
        self._log_epoch({name: sum(seen) / len(seen) for name, seen in values.items()}, time.time() - started)

    def _write_step(self, means: dict[str, float]) -> None:
        step = self.epoch * self.num_batches + self.batch_idx
        for name, mean in {**means, "lr": self.get_current_lr()}.items():
            self.write_scalar(f"train/{name}", mean, step)

    def _log_epoch(self, means: dict[str, float], seconds: float) -> None:
        figures = " ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        left = datetime.timedelta(seconds=round(seconds * (self.max_epoch - self.epoch - 1)))
        rate = self.get_current_lr()
        logger.info("epoch %d/%d: %s, lr %.2e, eta %s", self.epoch + 1, self.max_epoch, figures, rate, left)

    def after_epoch(self) -> None:
        """With best_val, validate and keep the best model; write a checkpoint where one is due."""
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.FINAL_MODEL == "best_val":
            self._keep_best(self.test(split="val"))
        done, every = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (every > 0 and done % every == 0):
            self.save_model(self.epoch, self.output_dir)

    def _keep_best(self, result: float) -> None:
        if result > self.best_result:
            self.best_result = result
            self.save_model(self.epoch, self.output_dir, val_result=result, model_name=checkpoint.BEST)

    def after_train(self) -> None:
        """Test the model that the configuration chooses, and close tensorboard's event file."""
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                self.load_model(self.output_dir)
            self.test()
        elapsed = datetime.timedelta(seconds=round(time.time() - self.time_start))
        logger.info("training finished in %s", elapsed)
        self.close_writer()

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on a split.

        Args:
            split: "val" or "test", by default `cfg.TEST.SPLIT`. Without a validation split "val" means "test".

        Returns:
            The evaluator's first figure.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        on_val = (split or self.cfg.TEST.SPLIT) == "val" and self.val_loader is not None
        for batch in self.val_loader if on_val else self.test_loader:
            inputs, labels = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(inputs), labels)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{'val' if on_val else 'test'}/{name}", value, self.epoch)
        return float(next(iter(results.values())))

    def model_inference(self, input: Any) -> Tensor:
        """Model outputs (N, C) for a batch's inputs."""
        outputs: Tensor = self.model(input)
        return outputs

    def parse_batch_train(self, batch: Any) -> Any:
        """Inputs, labels (N,) and domains (N,) of a training batch, on the device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))

    def parse_batch_test(self, batch: Any) -> Any:
        """Inputs and labels (N,) of a test batch, on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)
