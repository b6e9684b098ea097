"""Tip-Adapter and Tip-Adapter-F: a cache of the training embeddings (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.tip_adapter import (
    ALPHA,
    ALPHAS,
    BETA,
    BETAS,
    CacheClassifier,
    CacheSettings,
    cache_classifier,
    choose_strengths,
)
from lare_dassl.trainers.base.description import Need
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer

from .zero_shot import ZeroShot


class CacheTrainer(EmbeddingTrainer):
    """Base of both: the cache, and the choice of its weight and sharpness on validation rows.

    Attributes:
        model: a CacheClassifier.
    """

    section = "TRAINER.TIPADAPTER"
    settings_class = CacheSettings
    settings: CacheSettings
    head = "cache"
    needs: ClassVar[tuple[Need, ...]] = ("texts", "validation rows")
    ignores: ClassVar[tuple[str, ...]] = ("CLASSIFIER.INIT",)
    paper = "Zhang et al., ECCV 2022, arXiv 2207.09519"

    def choices(self) -> dict[str, str]:
        """As of any trainer; and α and β, where they are not given."""
        keys = [key for key, value in self._given().items() if not value]
        return super().choices() | {f"{key} 0": "give a value" for key in keys}

    def make_classifier(self) -> nn.Module:
        """The cache of the training embeddings, with α and β as given, else the paper's."""
        rows, text = self.train_rows, self.embeddings.class_text
        alpha, beta = self._given().values()
        scale = self.embeddings.vlm.logit_scale
        return cache_classifier(rows.embedding, rows.label, text, scale, alpha=alpha or ALPHA, beta=beta or BETA)

    def complete_model(self) -> None:
        """Set α and β: those given, and the others as validation rows choose them."""
        assert isinstance(self.model, CacheClassifier)
        alpha, beta = self._given().values()
        if not (alpha and beta):
            rows = self.embeddings.val
            assert rows is not None
            alphas, betas = (alpha,) if alpha else ALPHAS, (beta,) if beta else BETAS
            alpha, beta = choose_strengths(self.model, rows.embedding, rows.label, alphas, betas)
            values = dict(zip(self._given(), (alpha, beta), strict=True))
            self.keep_choice({key: values[key] for key, given in self._given().items() if not given})
        self.model.set_strengths(alpha, beta)

    def _given(self) -> dict[str, float]:
        """α and β of the configuration by their keys; 0 where validation rows choose."""
        return {f"{self.section}.ALPHA": self.settings.alpha, f"{self.section}.BETA": self.settings.beta}


@TRAINER_REGISTRY.register()
class TipAdapter(CacheTrainer, ZeroShot):
    """The cache as it is; nothing is trained."""

    place = 70
    group = "sibling"
    colour = "reddish purple"
    ignores = (*CacheTrainer.ignores, "OPTIM.")


@TRAINER_REGISTRY.register()
class TipAdapterF(CacheTrainer):
    """The keys of the cache are trained; its values and the zero-shot classifier stay."""

    place = 80
    group = "sibling"
    colour = "black"
    defaults: ClassVar[dict[str, Any]] = {"OPTIM.LR": 1e-3, "OPTIM.WEIGHT_DECAY": 0.01, "OPTIM.MAX_EPOCH": 20}
