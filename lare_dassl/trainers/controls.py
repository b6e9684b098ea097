"""Controls for LARE: the same probe, loop and number of added embeddings, but other embeddings are added."""

from __future__ import annotations

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.controls import InterpolationSettings, NoiseSettings, NoisyEmbeddings, TextInterpolations
from lare_dassl.methods.shared.augmentation import MovedEmbeddings
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer

from .lare import LARE


@TRAINER_REGISTRY.register()
class GaussianNoise(EmbeddingTrainer):
    """Adds the training embeddings with noise that depends on no class and no region."""

    place = 100
    group = "control"
    colour = "blue"
    section = "TRAINER.GAUSSIANNOISE"
    settings_class = NoiseSettings
    settings: NoiseSettings
    augmentation = "embeddings with Gaussian noise"
    joint = True

    def make_augmentation(self) -> NoisyEmbeddings:
        """Noise of TRAINER.GAUSSIANNOISE.SIGMA."""
        return NoisyEmbeddings(self.train_rows.embedding, self.settings.samples_per_image, self.settings.sigma)


@TRAINER_REGISTRY.register()
class TextInterpolation(EmbeddingTrainer):
    """Adds points between a training embedding and the text of its class."""

    place = 110
    group = "control"
    colour = "bluish green"
    section = "TRAINER.TEXTINTERPOLATION"
    settings_class = InterpolationSettings
    settings: InterpolationSettings
    augmentation = "points between image and class text embedding"
    needs = ("texts",)
    joint = True

    def make_augmentation(self) -> TextInterpolations:
        """Towards the class text embeddings."""
        rows, samples = self.train_rows, self.settings.samples_per_image
        return TextInterpolations(rows.embedding, samples, self.embeddings.class_text[rows.label])


@TRAINER_REGISTRY.register()
class RegionCentre(LARE):
    """Adds the centres of LARE's regions instead of samples from them; its settings are those of TRAINER.LARE."""

    place = 120
    group = "control"
    colour = "sky blue"
    augmentation = "centres of LARE's regions"
    joint = True
    paper = ""

    def make_augmentation(self) -> MovedEmbeddings:
        """Each centre scaled to unit length, as often as LARE would draw a sample."""
        centre = self.network(self.train_rows.embedding).normalised().centre
        return MovedEmbeddings(centre.expand(self.settings.samples_per_image, -1, -1))
