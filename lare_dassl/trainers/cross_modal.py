"""CrossModal: a linear probe on images and on the texts of their classes (Lin et al., CVPR 2023)."""

from __future__ import annotations

from pathlib import Path

from ..dassl_api import TRAINER_REGISTRY
from ..methods.cross_modal import ClassTexts
from .embedding_trainer import EmbeddingTrainer


@TRAINER_REGISTRY.register()
class CrossModal(EmbeddingTrainer):
    """Each batch holds the class text embedding of each of its images too, with the image's label.

    The paper starts the classifier as the zero-shot one; here CLASSIFIER.INIT says, as for every linear probe.
    """

    def prepare_training(self, directory: Path) -> None:
        """Mix the class texts into the training loader."""
        texts = ClassTexts(self.embeddings.class_text, self.train_rows.label)
        self.train_loader_x = self.make_loader(augmentation=texts)
