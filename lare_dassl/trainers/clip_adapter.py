"""CLIPAdapter: the zero-shot classifier on adapted image embeddings (CLIP-Adapter, Gao et al., 2021)."""

from __future__ import annotations

from typing import Any, ClassVar

from lare_dassl.errors import InputError
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.clip_adapter import AdapterClassifier, AdapterSettings
from lare_dassl.methods.shared.fitting import seeded_network
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer


@TRAINER_REGISTRY.register()
class CLIPAdapter(EmbeddingTrainer):
    """Trains the adapter of the image branch with cross-entropy; the class texts stay as they are."""

    place = 60
    group = "sibling"
    colour = "sky blue"
    section = "TRAINER.CLIPADAPTER"
    settings_class = AdapterSettings
    settings: AdapterSettings
    head = "adapter"
    needs = ("texts",)
    ignores = ("CLASSIFIER.INIT",)
    # By source validation on the demo world and Caltech, 1 to 16 shots; 0.001 is as good on the former alone.
    defaults: ClassVar[dict[str, Any]] = {"OPTIM.LR": 3e-4, "OPTIM.MAX_EPOCH": 200}
    paper = "Gao et al., IJCV 2024, arXiv 2110.04544"

    def make_classifier(self) -> AdapterClassifier:
        """The adapter at its random start, before the class texts."""
        settings, identity = self.settings, self.embeddings.vlm
        hidden_dim = identity.embedding_dim // settings.reduction
        if hidden_dim < 1:
            raise InputError(
                f"TRAINER.CLIPADAPTER.REDUCTION {settings.reduction} leaves nothing of embeddings that are "
                f"{identity.embedding_dim} wide: lower it"
            )
        return seeded_network(
            lambda: AdapterClassifier(self.embeddings.class_text, identity.logit_scale, hidden_dim, settings.ratio),
            self.seed,
        )
