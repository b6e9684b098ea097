"""ContextOptimisation: learned words before the class names, through the text tower (CoOp, Zhou et al., 2022)."""

from __future__ import annotations

from typing import Any, ClassVar

from lare_dassl import vlm
from lare_dassl.embeddings.encoder.encoder import weights_sha256
from lare_dassl.errors import InputError
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.context import (
    ContextClassifier,
    ContextPrompts,
    ContextSettings,
    find_context,
    starting_context,
)
from lare_dassl.trainers.base.embedding_trainer import EmbeddingTrainer

# A word of one token in every vocabulary of byte pairs; random vectors take its place.
PLACEHOLDER = "x"


@TRAINER_REGISTRY.register()
class ContextOptimisation(EmbeddingTrainer):
    """Learns context vectors on cached image embeddings; what it has learned is then a linear classifier.

    Class names stand at the end of the prompts, and neither VLM.TEMPLATES nor VLM.PROMPTS_FILE are used.
    """

    place = 50
    group = "sibling"
    colour = "bluish green"
    section = "TRAINER.CONTEXTOPTIMISATION"
    settings_class = ContextSettings
    settings: ContextSettings
    head = "context"
    needs = ("text tower",)
    ignores = ("CLASSIFIER.INIT",)
    # The paper's, but 50 epochs at 0.01 in place of 200 at 0.002 (16 shots): a quarter of the time. By validation
    # on the source of the demo world, 0.002 hardly moves the context in 50 epochs.
    defaults: ClassVar[dict[str, Any]] = {
        "OPTIM.NAME": "sgd",
        "OPTIM.LR": 0.01,
        "OPTIM.WEIGHT_DECAY": 5e-4,
        "OPTIM.MAX_EPOCH": 50,
        "OPTIM.WARMUP_EPOCH": 1,
        "OPTIM.WARMUP_TYPE": "constant",
        "OPTIM.WARMUP_CONS_LR": 1e-5,
        "DATALOADER.TRAIN_X.BATCH_SIZE": 32,
    }
    paper = "Zhou et al., IJCV 2022, arXiv 2109.01134"

    def make_classifier(self) -> ContextClassifier:
        """The classifier by the prompts with their first context.

        Raises:
            InputError: the text tower cannot be had, or is no tower of this kind, or the context does not fit into it.
        """
        identity, settings = self.embeddings.vlm, self.settings
        try:
            encoder = self._text_encoder()
        except InputError as error:
            raise InputError(f"ContextOptimisation needs the text tower of the model: {error}") from error
        prompts = self._prompts(encoder)
        context = starting_context(
            prompts, random=not settings.words, class_specific=settings.class_specific, seed=self.seed
        )
        self.learner = ContextClassifier(prompts, encoder.forward, context, identity.logit_scale)
        return self.learner

    def _text_encoder(self) -> vlm.TextEncoder:
        """The text tower of the model that gave the embeddings, in fp32, since gradients run through it."""
        identity = self.embeddings.vlm
        source = vlm.resolve(identity.model, identity.pretrained, self.cfg.VLM.ALLOW_RANDOM)
        encoder = vlm.load(source, "fp32", self.device).text_encoder()
        if self.dataset.embeddings is not None:
            self._check_same_weights(source, encoder)
        return encoder

    def _check_same_weights(self, source: vlm.VLMSource, encoder: vlm.TextEncoder) -> None:
        """Refuse an embedding file of other weights than those that go by the same name here."""
        identity, path = self.embeddings.vlm, self.cfg.DATASET.ROOT
        here = weights_sha256(source)
        if identity.weights_sha256 not in ("", here):
            raise InputError(
                f"the weights of {identity.model} here ({here[:12]}...) are not those of the embedding file {path} "
                f"({identity.weights_sha256[:12]}...): extract it anew"
            )
        if identity.embedding_dim != encoder.embedding_dim:
            raise InputError(
                f"the embeddings of {identity.model} are {encoder.embedding_dim} wide, those of the embedding file "
                f"{path} {identity.embedding_dim}: check its metadata 'model'"
            )

    def _prompts(self, encoder: vlm.TextEncoder) -> ContextPrompts:
        settings = self.settings
        words = settings.words or " ".join([PLACEHOLDER] * settings.length)
        try:
            tokens, start, length = find_context(encoder.tokenizer, words, self.dataset.prompt_names)
        except InputError as error:
            key = "INIT" if settings.words else "N_CTX"
            raise InputError(f"TRAINER.CONTEXTOPTIMISATION.{key}: {error}") from error
        tokens = tokens.to(self.device)
        return ContextPrompts(tokens, encoder.embed_tokens(tokens), start, length)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the context vectors of a checkpoint."""
        self.model = self.learner
        super().load_model(directory, epoch)

    def complete_model(self) -> None:
        """Turn what was learned into a linear classifier, which needs no text tower."""
        self.model = self.learner.linear()
        super().complete_model()
