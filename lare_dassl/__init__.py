"""LARE and its relatives for Dassl: methods on the embeddings of a frozen vision-language model.

Importing this package registers its trainers, datasets and evaluator with Dassl (or with the built-in stand-in where no
Dassl is installed) and adds its keys to Dassl's default configuration.
"""

from .config import merging

merging.register()

from . import datasets, trainers  # noqa: E402, F401
from .embeddings.embedding_file import read_embedding_file, write_embedding_file  # noqa: E402
from .embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings, VLMIdentity  # noqa: E402
from .embeddings.loaders import MixedLoader  # noqa: E402
from .errors import InputError  # noqa: E402
from .methods.lads import AugmentationNetwork, AugmentationSettings, fit_augmentation  # noqa: E402
from .methods.lare.fit import fit_regions  # noqa: E402
from .methods.lare.regions import RegionalSamples, RegionNetwork, Regions, RegionSettings, sample_regions  # noqa: E402
from .methods.shared.augmentation import Augmentation, MovedEmbeddings  # noqa: E402
from .results import metrics  # noqa: E402, F401
from .results.image_classifier import ImageClassifier, Prediction, load_classifier  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "Augmentation",
    "AugmentationNetwork",
    "AugmentationSettings",
    "EmbeddingSet",
    "ImageClassifier",
    "InputError",
    "LabelledEmbeddings",
    "MixedLoader",
    "MovedEmbeddings",
    "Prediction",
    "RegionNetwork",
    "RegionSettings",
    "RegionalSamples",
    "Regions",
    "VLMIdentity",
    "fit_augmentation",
    "fit_regions",
    "load_classifier",
    "read_embedding_file",
    "sample_regions",
    "write_embedding_file",
]
