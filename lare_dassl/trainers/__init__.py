"""The trainers; importing this package registers them with the host."""

from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer

from .clip_adapter import CLIPAdapter
from .context_optimisation import ContextOptimisation
from .controls import GaussianNoise, RegionCentre, TextInterpolation
from .cross_modal import CrossModal
from .fine_tune import FineTune
from .lads import LADS
from .lare import LARE
from .tip_adapter import TipAdapter, TipAdapterF
from .zero_shot import ZeroShot

__all__ = [
    "LADS",
    "LARE",
    "CLIPAdapter",
    "ContextOptimisation",
    "CrossModal",
    "EmbeddingTrainer",
    "FineTune",
    "GaussianNoise",
    "RegionCentre",
    "TextInterpolation",
    "TipAdapter",
    "TipAdapterF",
    "ZeroShot",
]
