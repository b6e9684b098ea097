"""The trainers; importing this package registers them with the host."""

from .embedding_trainer import EmbeddingTrainer
from .fine_tune import FineTune
from .lads import LADS
from .lare import LARE
from .zero_shot import ZeroShot

__all__ = ["LADS", "LARE", "EmbeddingTrainer", "FineTune", "ZeroShot"]
