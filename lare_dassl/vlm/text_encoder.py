"""The frozen text tower, for prompts whose token embeddings are trained. C: prompts, L: tokens, W: tower width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lare_dassl.errors import InputError

from .openclip import open_clip


class TextEncoder(nn.Module):
    """A frozen text tower that takes embeddings of tokens; gradients reach only these embeddings.

    It runs open_clip's own tower with the given embeddings in place of the ones that the tower looks up.

    Args:
        model: open_clip's module, frozen.
        tokenizer: list of texts → int64 (B, context length).

    Attributes:
        tokenizer: as given.

    Raises:
        InputError: the text tower is none of open_clip's own.
    """

    def __init__(self, model: Any, tokenizer: Callable[[Sequence[str]], Tensor]) -> None:
        super().__init__()
        self.tower: Any = getattr(model, "text", model)
        self.tokenizer = tokenizer
        if not hasattr(self.tower, "token_embedding"):
            kind = type(self.tower).__name__
            raise InputError(f"its text tower is a {kind}, which takes no token embeddings: choose another model")

    @property
    def embedding_dim(self) -> int:
        """D."""
        tokens = self.tokenizer(["a"]).to(self.tower.positional_embedding.device)
        return self(self.embed_tokens(tokens), tokens).shape[1]

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """The tower's embeddings of tokens, int64 (C, L): (C, L, W)."""
        return self.tower.token_embedding(tokens)

    def forward(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Unit-length embeddings of prompts, float32 (C, D).

        Args:
            embedding: of the prompts' tokens, (C, L, W).
            tokens: the prompts, int64 (C, L); the output is read where a prompt ends.
        """
        length = self._length_in_use(tokens)
        hook = self.tower.token_embedding.register_forward_hook(lambda *_: embedding[:, :length])
        try:
            output = functional_call(self.tower, self._shortened(length), kwargs={"text": tokens[:, :length]})
        finally:
            hook.remove()
        place = 1 if isinstance(self.tower, open_clip.CLIP) else 0
        features = output if isinstance(output, Tensor) else output[place]
        return F.normalize(features.float(), dim=-1)

    def _length_in_use(self, tokens: Tensor) -> int:
        """Number of tokens up to the longest prompt's end, if a token sees only those before it; else L."""
        pooled = getattr(self.tower, "text_pool_type", None) or self.tower.pool_type
        if pooled != "argmax" or self.tower.attn_mask is None or getattr(self.tower, "cls_emb", None) is not None:
            return tokens.shape[1]
        return int(tokens.argmax(dim=1).max()) + 1

    def _shortened(self, length: int) -> dict[str, Tensor]:
        """The tower's tensors with a dimension of tokens, cut to the first `length`."""
        if length == self.tower.context_length:
            return {}
        mask, positions = self.tower.attn_mask, self.tower.positional_embedding
        return {"attn_mask": mask[:length, :length], "positional_embedding": positions[:length]}
