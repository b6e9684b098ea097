"""Runs of trainers that are not ours, such as CoOp's own: tested by our evaluator beside theirs, recorded as ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.datasets.base.foreign import as_image_dataset, check_split_applied
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.split_file import write_split
from lare_dassl.errors import InputError
from lare_dassl.host.door import Classification
from lare_dassl.results.metrics import DomainClassification

from .run_files import RunFiles
from .split_tester import evaluator_of
from .stage_clock import StageClock
from .unread_keys import warn_of_unread

logger = logging.getLogger(__name__)


class PluginRun:
    """A run of a trainer that is not ours. The trainer keeps its data, its evaluator and its loop, and is watched.

    Its record is that of a trainer of ours, but for what only the trainer knows: of the frozen model it has the name
    alone (MODEL.BACKBONE.NAME), and times are those of the last leg of a resumed run. A trainer that cannot be watched
    (no `dm`, an evaluator of its own, test batches without "index") runs as ever, and has no record; the log says why.

    Args:
        trainer: built; Dassl's DataManager is its `dm`.
        cfg: the whole configuration, with a seed.

    Raises:
        InputError: its dataset ignores DATASET.NUM_SHOTS or DATASET.LONG_TAIL.
    """

    skipped: Mapping[str, int] = {}
    """No images are left out: the check of the configuration refuses that."""

    def __init__(self, trainer: Any, cfg: CfgNode) -> None:
        self.trainer, self.cfg = trainer, cfg
        warn_of_unread(cfg, on_embeddings=False)
        self.clock = StageClock()
        self.dataset: ImageDataset | None = None
        self.evaluator: _TwoEvaluators | None = None
        of_host = getattr(getattr(trainer, "dm", None), "dataset", None)
        if of_host is None:
            logger.warning("no record will be written: %s has no DataManager 'dm'", cfg.TRAINER.NAME)
            return
        check_split_applied(cfg, of_host)
        try:
            self.dataset = as_image_dataset(of_host, cfg)
        except InputError as error:
            logger.warning("no record will be written: %s", error)
            return
        self._watch(self.dataset)

    def _watch(self, dataset: ImageDataset) -> None:
        theirs = getattr(self.trainer, "evaluator", None)
        if not isinstance(theirs, Classification):
            logger.warning("no record will be written: TEST.EVALUATOR %s is not Dassl's", self.cfg.TEST.EVALUATOR)
            return
        ours = evaluator_of(self.cfg, dataset)
        ours.announce = False
        self.evaluator = self.trainer.evaluator = _TwoEvaluators(theirs, ours)
        for name in ("val", "test"):
            loader = getattr(self.trainer, f"{name}_loader", None)
            if loader is not None:
                watched = _WatchedLoader(loader, name, _domains(dataset.splits()[name]), self.evaluator)
                setattr(self.trainer, f"{name}_loader", watched)

    @property
    def results(self) -> dict[str, float]:
        """The figures of the last test, in percent, if it was on the split that TEST.SPLIT names."""
        if self.evaluator is None or self.evaluator.split != self.cfg.TEST.SPLIT:
            return {}
        return self.evaluator.results

    def train(self) -> None:
        """Train and test as the trainer does, and write split.json, predictions and record.json into the run's folder.

        Raises:
            InputError: a file cannot be written.
        """
        folder = Path(self.cfg.OUTPUT_DIR)
        if self.dataset is not None:
            write_split(folder, self.dataset, self.cfg)
        with self.clock.timed("stage2"):
            self.trainer.train()
        self.write_record(folder)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a checkpoint, as the trainer does."""
        self.trainer.load_model(directory, epoch=epoch)

    def check_loaded_settings(self) -> None:
        """Checkpoints of these trainers do not say under which settings they were trained."""

    def test(self) -> None:
        """Test on the split that TEST.SPLIT names."""
        self.trainer.test()

    def write_record(self, folder: Path) -> None:
        """Write into a folder what the run leaves beside the trainer's own files, record.json last.

        Raises:
            InputError: a file cannot be written.
        """
        if self.evaluator is None or self.dataset is None:
            return
        results = {} if self.cfg.TEST.NO_TEST else self.results
        if not results and not self.cfg.TEST.NO_TEST:
            logger.warning(
                "no record is written: %s did not test each image of the %s split once, in order, in batches with "
                "their 'index'",
                *(self.cfg.TRAINER.NAME, self.cfg.TEST.SPLIT),
            )
            return
        files = RunFiles(folder, self.cfg, self.dataset)
        files.write_predictions(self.evaluator.ours)
        files.write_record(
            self.cfg.MODEL.BACKBONE.NAME,
            samples=self.dataset.sizes(),
            results=results,
            seconds=self._seconds(self.evaluator.seconds),
        )

    def _seconds(self, test: float) -> dict[str, float]:
        """The times of the stages: the trainer tests within its training, whose time is counted without the tests."""
        seconds = self.clock.seconds()
        return seconds | {"test": test, "stage2": max(seconds.get("stage2", 0.0) - test, 0.0)}


class _TwoEvaluators:
    """A trainer's evaluator, whose figures it goes by, with ours beside it.

    Attributes:
        ours: knows the domains of the images, if each of a split is tested once, in order.
        results: our figures of the last test; empty where images were left out, or tested in another order.
        split: which was tested last, "val" or "test"; "" where it is not known.
        seconds: how long all tests took.
    """

    def __init__(self, theirs: Any, ours: DomainClassification) -> None:
        self.theirs, self.ours = theirs, ours
        self.results: dict[str, float] = {}
        self.seconds = 0.0
        self.reset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.theirs, name)

    def reset(self) -> None:
        """Forget all batches."""
        self.theirs.reset()
        self.ours.reset()
        self.split, self.domain = "", torch.empty(0, dtype=torch.int64)
        self.given, self.tested = [self.domain], 0

    def announce(self, split: str, domain: Tensor, index: Tensor) -> None:
        """Say that a batch with some images of a split is given out.

        Args:
            split: "val" or "test".
            domain: the domains of all its images, (N,).
            index: the places of those of the batch, (B,).
        """
        self.split, self.domain = split, domain
        self.given.append(index)

    def process(self, mo: Tensor, gt: Tensor) -> None:
        """Take in one batch: logits (B, C) and true labels (B,)."""
        self.theirs.process(mo, gt)
        start, self.tested = self.tested, self.tested + len(gt)
        if self.tested <= len(self.domain):
            self.ours.process(mo, gt, self.domain[start : self.tested])

    def evaluate(self) -> Any:
        """Their figures."""
        size = len(self.domain)
        complete = 0 < size == self.tested and torch.equal(torch.cat(self.given), torch.arange(size))
        self.results = dict(self.ours.evaluate()) if complete else {}
        return self.theirs.evaluate()


class _WatchedLoader:
    """A trainer's loader of val or test images, which announces each batch to the evaluator.

    Args:
        loader: gives batches with the places of their images in the split under "index", as Dassl's do.
        split: "val" or "test".
        domain: the domains of all its images, (N,).
        evaluator: that learns what is tested.
    """

    def __init__(self, loader: Any, split: str, domain: Tensor, evaluator: _TwoEvaluators) -> None:
        self.loader, self.split, self.domain, self.evaluator = loader, split, domain, evaluator

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        clock = StageClock()
        for batch in self.loader:
            if isinstance(batch, dict) and "index" in batch:
                self.evaluator.announce(self.split, self.domain, batch["index"].cpu())
            yield batch
        self.evaluator.seconds += clock.seconds()["total"]


def _domains(items: Sequence[ImageItem]) -> Tensor:
    return torch.tensor([item.domain for item in items], dtype=torch.int64)
