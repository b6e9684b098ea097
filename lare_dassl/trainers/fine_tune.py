"""FineTune: a linear probe on the real embeddings, the "fine-tune" rows of the LARE paper."""

from __future__ import annotations

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer


@TRAINER_REGISTRY.register()
class FineTune(EmbeddingTrainer):
    """One linear layer on frozen image embeddings, trained with cross-entropy."""

    place = 20
    group = "paper"
    colour = "orange"
    joint = True
    paper = "Sakurai et al., arXiv 2409.12597"
