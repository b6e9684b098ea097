"""Context optimisation: prompts whose words before the class name are learned (CoOp, Zhou et al., IJCV 2022).

Pure torch. B: images of a batch, D: embedding width, C: classes, L: tokens of a prompt, M: context tokens, W: width of
a token embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.linear import text_classifier
from lare_dassl.methods.shared.settings import Allowed, Settings, setting

RANDOM_STD = 0.02
"""Standard deviation that random context vectors start with, the paper's."""


@dataclass(frozen=True)
class ContextSettings(Settings):
    """The start of the learned context.

    >>> ContextSettings().words
    'a photo of a'
    """

    words: str = setting(
        "a photo of a",
        'words that the context vectors start as; "" starts N_CTX vectors at random (standard deviation 0.02)',
        key="INIT",
    )
    length: int = setting(
        4, 'context vectors where INIT is ""; the paper takes 16', Allowed(1, 1024), key="N_CTX", unit="tokens"
    )
    class_specific: bool = setting(False, "give each class context vectors of its own", key="CSC")


@dataclass(frozen=True)
class ContextPrompts:
    """The prompts of all classes, "<context> <class name>."; all have their context at the same place.

    Attributes:
        tokens: int64 (C, L).
        embedding: of these tokens, (C, L, W).
        start: place of the first context token.
        length: M.
    """

    tokens: Tensor
    embedding: Tensor
    start: int
    length: int

    def words(self) -> Tensor:
        """The embeddings of the context's own tokens, (M, W)."""
        return self.embedding[0, self.start : self.start + self.length]

    def with_context(self, context: Tensor) -> Tensor:
        """The prompts with other context vectors, (C, L, W).

        Args:
            context: (M, W) for all classes, or (C, M, W).
        """
        before, after = self.embedding[:, : self.start], self.embedding[:, self.start + self.length :]
        return torch.cat([before, context.expand(len(self.embedding), -1, -1), after], dim=1)


def find_context(
    tokenise: Callable[[Sequence[str]], Tensor], words: str, names: Sequence[str]
) -> tuple[Tensor, int, int]:
    """The tokens of the prompts "<words> <name>.", and where their context is.

    Args:
        tokenise: texts → int64 (number of texts, L), padded behind, cut at L.
        words: of the context.
        names: of the classes.

    Returns:
        Tokens int64 (C, L), the place of the first context token, and M.

    Raises:
        InputError: a prompt is longer than L, or does not begin with the tokens of the words.
    """
    empty, of_words = tokenise(["", words])
    filled = (torch.stack([empty, of_words]) != empty[-1]).sum(dim=1)
    length = int(filled[1] - filled[0])
    start = int((empty != of_words).int().argmax())
    alone = (tokenise([f"{name}." for name in names]) != empty[-1]).sum(dim=1)
    if int(alone.max()) + length > len(empty):
        raise InputError(
            f"the context and the class name '{names[int(alone.argmax())]}' are longer than the {len(empty)} tokens of "
            f"a prompt: take at most {len(empty) - int(alone.max())} context tokens"
        )
    tokens = tokenise([f"{words} {name}." for name in names])
    place = slice(start, start + length)
    if length < 1 or not bool((tokens[:, place] == of_words[place]).all()):
        raise InputError(f"'{words}' are no tokens of their own before a class name: take other words")
    return tokens, start, length


class ContextClassifier(nn.Module):
    """Classifies by the texts that learned context vectors give; these are its only parameter and its whole state.

    Args:
        prompts: see ContextPrompts.
        encode: the frozen text tower: embeddings of tokens (C, L, W), tokens (C, L) → unit-length embeddings (C, D). It
            is no module of this one, whose state is the context alone.
        context: the first context vectors, (M, W), or (C, M, W) where each class has its own.
        logit_scale: s, the VLM's inverse temperature.
    """

    def __init__(
        self, prompts: ContextPrompts, encode: Callable[[Tensor, Tensor], Tensor], context: Tensor, logit_scale: float
    ) -> None:
        super().__init__()
        self.prompts = prompts
        self.encode = encode
        self.context = nn.Parameter(context.clone())
        self.logit_scale = logit_scale

    def class_text(self) -> Tensor:
        """Unit-length class text embeddings of the prompts with the learned context, (C, D)."""
        return self.encode(self.prompts.with_context(self.context), self.prompts.tokens)

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, C) of unit-length embeddings (B, D): s times the cosine of image and class text embedding."""
        return self.logit_scale * embedding @ self.class_text().T

    def linear(self) -> nn.Linear:
        """The same classifier as a linear layer, which needs no text tower."""
        with torch.no_grad():
            return text_classifier(self.class_text(), self.logit_scale)


def starting_context(prompts: ContextPrompts, *, random: bool, class_specific: bool, seed: int) -> Tensor:
    """The first context vectors: (M, W), or (C, M, W) where each class has its own.

    Args:
        prompts: see ContextPrompts.
        random: normal with RANDOM_STD; else the embeddings of the context's own tokens.
        class_specific: each class has context vectors of its own.
        seed: of random vectors; the global random state stays as it is.
    """
    classes, _, width = prompts.embedding.shape
    shape = (classes, prompts.length, width) if class_specific else (prompts.length, width)
    if not random:
        return prompts.words().expand(shape).clone()
    generator = torch.Generator().manual_seed(seed)
    return (RANDOM_STD * torch.randn(shape, generator=generator)).to(prompts.embedding.device)
