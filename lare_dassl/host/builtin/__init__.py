"""A stand-in with the interface of Dassl 0.6.3, for environments that have no Dassl.

It has Dassl's names, configuration keys, order of calls and checkpoint layout. It has no networks, image transforms or
datasets: trainers bring their own data loaders and models.
"""

from lare_dassl.system.log_file import setup_logger

from .config import cfg_default, clean_cfg, get_cfg_default
from .dataset import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
from .evaluation import EVALUATOR_REGISTRY, Classification, EvaluatorBase, build_evaluator
from .optim import build_optimizer
from .registry import Registry
from .tools import set_random_seed
from .trainer import TRAINER_REGISTRY, TrainerX, build_trainer

version = "0.6.3"

__all__ = [
    "DATASET_REGISTRY",
    "EVALUATOR_REGISTRY",
    "TRAINER_REGISTRY",
    "Classification",
    "DatasetBase",
    "Datum",
    "EvaluatorBase",
    "Registry",
    "TrainerX",
    "build_dataset",
    "build_evaluator",
    "build_optimizer",
    "build_trainer",
    "cfg_default",
    "clean_cfg",
    "get_cfg_default",
    "set_random_seed",
    "setup_logger",
    "version",
]
