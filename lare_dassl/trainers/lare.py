"""LARE: a linear probe on real embeddings mixed with samples from learned regions (arXiv 2409.12597)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import ClassVar, cast

import torch

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.lare.fast_path import CompactSamples
from lare_dassl.methods.lare.fit import StageOneLoss, fit_regions, fit_regions_together
from lare_dassl.methods.lare.regions import LARESettings, RegionNetwork
from lare_dassl.methods.shared.augmentation import Augmentation
from lare_dassl.trainers.base.description import Group
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer
from lare_dassl.trainers.base.optimisation import worth_a_line
from lare_dassl.trainers.base.settings import named
from lare_dassl.trainers.base.two_stage import TwoStageTrainer

logger = logging.getLogger(__name__)


@TRAINER_REGISTRY.register()
class LARE(TwoStageTrainer):
    """Stage 1 fits the region network; stage 2 trains the classifier on real embeddings and fresh regional samples."""

    place = 40
    group: ClassVar[Group] = "paper"
    colour = "vermilion"
    section = "TRAINER.LARE"
    settings_class = LARESettings
    settings: LARESettings
    augmentation = "regional samples"
    needs = ("texts",)
    stage_folder = "regions"
    joint = True
    paper = "Sakurai et al., arXiv 2409.12597"

    def new_network(self) -> RegionNetwork:
        """The region network, not yet trained."""
        width, settings = self.embeddings.vlm.embedding_dim, self.settings
        return RegionNetwork(width, settings.hidden_dim, settings.parametrisation)

    def fit_network(self) -> RegionNetwork:
        """Stage 1: fit the region network."""
        return fit_regions(
            self.train_rows.embedding,
            self.train_rows.label,
            self.embeddings.class_text,
            logit_scale=self.logit_scale,
            settings=self.settings,
            seed=self.seed,
            on_epoch=self.report_stage_one,
        )

    @classmethod
    def fit_first_stages(cls, trainers: Sequence[EmbeddingTrainer]) -> None:
        """Stage 1 of several runs that differ in their seed alone, at once."""
        runs = cast(Sequence[LARE], trainers)
        started = time.perf_counter()
        with named(cls.section):
            networks = fit_regions_together(
                torch.stack([run.train_rows.embedding for run in runs]),
                torch.stack([run.train_rows.label for run in runs]),
                runs[0].embeddings.class_text,
                logit_scale=runs[0].logit_scale,
                settings=runs[0].settings,
                seeds=[run.seed for run in runs],
                on_epoch=lambda epoch, losses: _report_each(runs, epoch, losses),
            )
        for run, network in zip(runs, networks, strict=True):
            run.clock.add("stage1", (time.perf_counter() - started) / len(runs))
            run.keep_network(network)
            run.fitted = network

    @property
    def logit_scale(self) -> float:
        """Inverse temperature of the class consistency losses."""
        return self.settings.logit_scale or self.embeddings.vlm.logit_scale

    def make_augmentation(self) -> Augmentation:
        """Fresh samples from the regions of the training embeddings."""
        return CompactSamples.of(self.network, self.train_rows.embedding, self.settings.samples_per_image)

    def report_stage_one(self, epoch: int, loss: StageOneLoss) -> None:
        """Every so often, write the losses of an epoch of stage 1 to the log."""
        epochs = self.stage_one_epochs
        if worth_a_line(epoch, epochs):
            line = "%sregions, epoch %d/%d: loss %.4f (volume %.4f, consistency %.4f)"
            logger.info(line, self.log_prefix, epoch, epochs, loss.total, loss.volume, loss.consistency)


def _report_each(runs: Sequence[LARE], epoch: int, losses: list[StageOneLoss]) -> None:
    for run, loss in zip(runs, losses, strict=True):
        run.report_stage_one(epoch, loss)
