"""ZeroShot: classify by the class text embeddings alone, nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import nn

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers.base.description import Group, Need
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer


@TRAINER_REGISTRY.register()
class ZeroShot(EmbeddingTrainer):
    """Logits are the VLM's logit scale times the cosine of image and class text embedding (Radford et al., 2021)."""

    place = 10
    group: ClassVar[Group] = "paper"
    colour = "black"
    needs: ClassVar[tuple[Need, ...]] = ("texts",)
    ignores: ClassVar[tuple[str, ...]] = ("CLASSIFIER.INIT", "CLASSIFIER.AVERAGE", "OPTIM.")
    trains = False
    paper = "Radford et al., ICML 2021, arXiv 2103.00020"

    def build_model(self) -> None:
        """Make the classifier; there is no optimiser."""
        self.model = self.make_classifier().to(self.device)
        self.optim = None
        self.sched = None
        self.max_epoch = 0
        self.register_model("model", self.model)

    def make_classifier(self) -> nn.Module:
        """The zero-shot classifier."""
        return self.zero_shot_classifier()

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a classifier; without a folder the one at hand is as good."""
        if directory:
            super().load_model(directory, epoch)
        else:
            self.complete_model()

    def prepare_training(self, directory: Path) -> None:
        """Keep the classifier, so that --eval-only finds it."""
        self.save_model(-1, self.output_dir)
