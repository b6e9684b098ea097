"""LARE: a linear probe on real embeddings mixed with samples from learned regions (arXiv 2409.12597)."""

from __future__ import annotations

import logging
from typing import Any

from ..config import region_settings
from ..dassl_api import TRAINER_REGISTRY
from ..methods.augmentation import Augmentation
from ..methods.regions import RegionalSamples, RegionNetwork, RegionSettings, StageOneLoss, fit_regions
from .embedding_trainer import worth_a_line
from .two_stage import TwoStageTrainer

logger = logging.getLogger(__name__)


@TRAINER_REGISTRY.register()
class LARE(TwoStageTrainer):
    """Stage 1 fits the region network; stage 2 trains the classifier on real embeddings and fresh regional samples."""

    section = "TRAINER.LARE"
    stage_one_folder = "regions"

    def stage_one_settings(self, cfg: Any) -> RegionSettings:
        """See config.region_settings."""
        return region_settings(cfg)

    def new_network(self) -> RegionNetwork:
        """The region network, not yet trained."""
        settings = region_settings(self.cfg)
        return RegionNetwork(self.embeddings.vlm.embedding_dim, settings.hidden_dim, settings.parametrisation)

    def fit_network(self) -> RegionNetwork:
        """Stage 1: fit the region network."""
        return fit_regions(
            self.train_rows.embedding,
            self.train_rows.label,
            self.embeddings.class_text,
            logit_scale=self.cfg.TRAINER.LARE.LOGIT_SCALE or self.embeddings.vlm.logit_scale,
            settings=region_settings(self.cfg),
            seed=self.seed,
            on_epoch=self._report_stage_one,
        )

    def make_augmentation(self) -> Augmentation:
        """Fresh samples from the regions of the training embeddings."""
        return RegionalSamples(self.network(self.train_rows.embedding), self.cfg.TRAINER.LARE.SAMPLES_PER_IMAGE)

    def _report_stage_one(self, epoch: int, loss: StageOneLoss) -> None:
        epochs = self.cfg.TRAINER.LARE.EPOCHS
        if worth_a_line(epoch, epochs):
            line = "regions, epoch %d/%d: loss %.4f (volume %.4f, consistency %.4f)"
            logger.info(line, epoch, epochs, loss.total, loss.volume, loss.consistency)
