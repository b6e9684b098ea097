"""Trainer with a first stage: it fits a network, which is kept in the run's folder, and augments the second stage."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from lare_dassl.io import checkpoint
from lare_dassl.methods.shared.augmentation import Augmentation
from lare_dassl.methods.shared.fitting import FittingSettings

from .embedding_trainer import EmbeddingTrainer
from .run_identity import check_same_run
from .settings import named

logger = logging.getLogger(__name__)


class TwoStageTrainer(EmbeddingTrainer):
    """Stage 1 fits a network; stage 2 trains the classifier on real embeddings and on those the network makes.

    A method gives all below that raise or have no value here.

    Attributes:
        settings: of stage 1, and others of the method's section.
        network: the outcome of stage 1.
        fitted: the same where it was fitted for several runs together.
    """

    settings: FittingSettings
    network: nn.Module
    fitted: nn.Module | None = None

    def new_network(self) -> nn.Module:
        """The network of stage 1, not yet trained."""
        raise NotImplementedError

    def fit_network(self) -> nn.Module:
        """Stage 1 itself."""
        raise NotImplementedError

    def make_augmentation(self) -> Augmentation:
        """The embeddings that `network` adds to those of the training images."""
        raise NotImplementedError

    def prepare_training(self, directory: Path) -> None:
        """Stage 1, unless its outcome is there already; then mix what it adds into the training loader."""
        kept = self.fitted or self._kept_network(directory)
        self.network = self._fitted_network() if kept is None else kept
        super().prepare_training(directory)

    @property
    def stage_one_epochs(self) -> int:
        """Passes of stage 1 over the training embeddings."""
        return self.settings.epochs_for(len(self.train_rows))

    def _kept_network(self, directory: Path) -> nn.Module | None:
        path = checkpoint.latest(directory / self.stage_folder)
        if path is None:
            return None
        state = self.reader.take(path)
        check_same_run(path, state, self.identity)
        network = self.new_network()
        checkpoint.load_weights(network, state, path)
        if self.start_epoch == 0 and "seconds" in state:
            self.clock.take_over(state["seconds"])
        logger.info("%s: taken from %s", self.stage_folder, path)
        folder = Path(self.output_dir) / self.stage_folder
        if path.parent.resolve() != folder.resolve():
            checkpoint.write(state, folder, path.name)
        return network.to(self.device).eval()

    def _fitted_network(self) -> nn.Module:
        # A run that cannot be trained is refused here, before the fit.
        self.identity  # noqa: B018
        with self.clock.timed("stage1"), named(self.section):
            network = self.fit_network()
        self.keep_network(network)
        return network

    def keep_network(self, network: nn.Module) -> None:
        """Write the outcome of stage 1 into the run's folder, where the run takes it from."""
        state = {"state_dict": network.state_dict(), "run": self.identity, "seconds": self.clock.seconds()}
        name = checkpoint.epoch_file(self.stage_one_epochs)
        checkpoint.write(state, Path(self.output_dir) / self.stage_folder, name)
