"""CrossModal: a linear probe on images and on the texts of their classes (Lin et al., CVPR 2023)."""

from __future__ import annotations

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.cross_modal import ClassTexts
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer


@TRAINER_REGISTRY.register()
class CrossModal(EmbeddingTrainer):
    """Each batch holds the class text embedding of each of its images too, with the image's label.

    The paper starts the classifier as the zero-shot one; here CLASSIFIER.INIT says, as for every linear probe.
    """

    place = 90
    group = "sibling"
    colour = "orange"
    augmentation = "class text embeddings"
    needs = ("texts",)
    joint = True
    paper = "Lin et al., CVPR 2023, arXiv 2301.06267"

    def make_augmentation(self) -> ClassTexts:
        """The text of each image's class."""
        return ClassTexts(self.embeddings.class_text, self.train_rows.label)
