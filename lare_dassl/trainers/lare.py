"""LARE: a linear probe on real embeddings mixed with samples from learned regions (arXiv 2409.12597)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from ..config import region_settings
from ..dassl_api import TRAINER_REGISTRY
from ..host import checkpoint
from ..methods.regions import RegionNetwork, StageOneLoss, fit_regions
from .embedding_trainer import EmbeddingTrainer, worth_a_line
from .run_identity import check_same_run

logger = logging.getLogger(__name__)


@TRAINER_REGISTRY.register()
class LARE(EmbeddingTrainer):
    """Stage 1 fits the region network; stage 2 trains the classifier on real embeddings and fresh regional samples."""

    def check_cfg(self, cfg: Any) -> None:
        """Refuse settings of stage 1 that are out of range, before anything is encoded."""
        super().check_cfg(cfg)
        region_settings(cfg)

    def prepare_training(self, directory: Path) -> None:
        """Stage 1, unless its outcome is there already; then mix regional samples into the training loader."""
        self.regions = self._kept_regions(directory) or self._fit_regions()
        with torch.no_grad():
            regions = self.regions(self.train_rows.embedding)
        samples = self.cfg.TRAINER.LARE.SAMPLES_PER_IMAGE
        self.train_loader_x = self.make_loader(regions=regions, samples_per_image=samples)

    def _kept_regions(self, directory: Path) -> RegionNetwork | None:
        path = checkpoint.latest(directory / "regions")
        if path is None:
            return None
        state = checkpoint.read(path)
        check_same_run(path, state, self.identity)
        settings = region_settings(self.cfg)
        network = RegionNetwork(self.embeddings.vlm.embedding_dim, settings.hidden_dim, settings.parametrisation)
        checkpoint.load_weights(network, state, path)
        logger.info("regions: taken from %s", path)
        if path.parent.resolve() != (Path(self.output_dir) / "regions").resolve():
            checkpoint.write(state, Path(self.output_dir) / "regions", path.name)
        return network.to(self.device).eval()

    def _fit_regions(self) -> RegionNetwork:
        with self.clock.timed("stage1"):
            network = fit_regions(
                self.train_rows.embedding,
                self.train_rows.label,
                self.embeddings.class_text,
                logit_scale=self.cfg.TRAINER.LARE.LOGIT_SCALE or self.embeddings.vlm.logit_scale,
                settings=region_settings(self.cfg),
                seed=self.seed,
                on_epoch=self._report_stage_one,
            )
        state = {"state_dict": network.state_dict(), "run": self.identity}
        checkpoint.write(state, Path(self.output_dir) / "regions", checkpoint.epoch_file(self.cfg.TRAINER.LARE.EPOCHS))
        return network

    def _report_stage_one(self, epoch: int, loss: StageOneLoss) -> None:
        epochs = self.cfg.TRAINER.LARE.EPOCHS
        if worth_a_line(epoch, epochs):
            line = "regions, epoch %d/%d: loss %.4f (volume %.4f, consistency %.4f)"
            logger.info(line, epoch, epochs, loss.total, loss.volume, loss.consistency)
