"""Evaluators: model outputs and labels in, figures out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.methods.shared.metrics import confusion_counts, macro_f1

from .registry import Registry

logger = logging.getLogger(__name__)

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: CfgNode, **kwargs: Any) -> EvaluatorBase:
    """The evaluator named by `cfg.TEST.EVALUATOR`, made with the arguments.

    Raises:
        InputError: no evaluator of that name is registered.
    """
    evaluator: EvaluatorBase = EVALUATOR_REGISTRY.find(cfg.TEST.EVALUATOR)(cfg, **kwargs)
    return evaluator


class EvaluatorBase:
    """Interface of an evaluator. A trainer calls `reset`, then `process` for each batch, then `evaluate`."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in one batch: model outputs (N, C) and true labels (N,)."""
        raise NotImplementedError

    def evaluate(self) -> OrderedDict[str, float]:
        """The figures. The trainer selects models by the first one."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error rate and macro-F1, in percent; on request also accuracy by class and a confusion matrix.

    Args:
        cfg: the whole configuration; `TEST.PER_CLASS_RESULT`, `TEST.COMPUTE_CMAT` and `OUTPUT_DIR` are read.
        lab2cname: class name of each label.
        kwargs: ignored; other evaluators read more.

    Attributes:
        announce: True where `evaluate` logs its figures.
    """

    announce = True

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: Any) -> None:
        super().__init__(cfg)
        self._lab2cname = lab2cname or {}
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._true: list[Tensor] = []
        self._predicted: list[Tensor] = []

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in one batch: model outputs (N, C) and true labels (N,)."""
        self._predicted.append(mo.argmax(dim=1).cpu())
        self._true.append(gt.cpu())

    def evaluate(self) -> OrderedDict[str, float]:
        """Accuracy, error_rate, macro_f1 and, with `TEST.PER_CLASS_RESULT`, perclass_accuracy; all in percent.

        Raises:
            InputError: no sample was processed.
        """
        if not sum(len(batch) for batch in self._true):
            raise InputError("nothing to evaluate: the split has no samples")
        labels, counts = confusion_counts(torch.cat(self._true), torch.cat(self._predicted))
        accuracy = 100.0 * counts.trace().item() / counts.sum().item()
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=macro_f1(counts))
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._perclass_accuracy(labels, counts)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix(counts)
        if self.announce:
            logger.info(", ".join(f"{name} {value:.1f}%" for name, value in results.items()))
        return results

    def _perclass_accuracy(self, labels: Tensor, counts: Tensor) -> float:
        occurs = counts.sum(dim=1) > 0
        totals, correct = counts.sum(dim=1)[occurs], counts.diag()[occurs]
        for label, right, total in zip(labels[occurs].tolist(), correct.tolist(), totals.tolist(), strict=True):
            name = self._lab2cname.get(label, str(label))
            logger.info("class %d (%s): %d of %d correct", label, name, right, total)
        return 100.0 * (correct / totals).mean().item()

    def _save_confusion_matrix(self, counts: Tensor) -> None:
        path = Path(self.cfg.OUTPUT_DIR) / "cmat.pt"
        checkpoint.save(counts / counts.sum(dim=1, keepdim=True).clamp(min=1), path)
        logger.info("confusion matrix written to %s", path)
