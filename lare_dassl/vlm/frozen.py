"""A loaded frozen model, which encodes images and texts. B: batch, D: embedding width."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .preprocessing import PreprocessParts, split_preprocess
from .text_encoder import TextEncoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TEXT_BATCH = 256
# A CPU multiplies the rows left over from a multiple of its kernels by other kernels, which round differently. In a
# multiple of eight rows an embedding is the same to the bit whatever shares its batch (docs/reproducibility.md).
CPU_ROWS = 8


@dataclass(frozen=True)
class FrozenVLM:
    """A loaded model, in eval mode and without gradients.

    Attributes:
        model: open_clip's module.
        preprocess: PIL image → float32 tensor (3, height, width), the model's own transform.
        tokenizer: list of texts → int64 (B, context length).
        device: where the model is.
        precision: "fp32", "bf16" or "fp16".
        logit_scale: inverse temperature that the model was trained with.
    """

    model: Any
    preprocess: Callable[[Any], Tensor]
    tokenizer: Callable[[Sequence[str]], Tensor]
    device: torch.device
    precision: str
    logit_scale: float

    @functools.cached_property
    def parts(self) -> PreprocessParts:
        """`preprocess` in two parts, of which the second works on whole batches, on the model's device."""
        return split_preprocess(self.preprocess)

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Unit-length embeddings of preprocessed images: float32 (B, D) on the CPU.

        Args:
            pixels: float32 (B, 3, height, width) from `preprocess`, or what `parts.resize` gives for them.
        """
        rows = len(pixels)
        if pixels.dtype == torch.uint8:
            pixels = self.parts.scale(pixels.to(self.device))
        pixels = self._filled_up(pixels).to(self.device, DTYPES[self.precision])
        return F.normalize(self.model.encode_image(pixels, normalize=False).float(), dim=-1)[:rows].cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings of texts: float32 (B, D) on the CPU."""
        tokens = self._filled_up(self.tokenizer(list(texts))).to(self.device)
        batches = [self.model.encode_text(batch, normalize=False).float() for batch in tokens.split(TEXT_BATCH)]
        return F.normalize(torch.cat(batches), dim=-1)[: len(texts)].cpu()

    def _filled_up(self, batch: Tensor) -> Tensor:
        """A batch (B, ...) with rows of zeros behind it where a CPU needs them."""
        missing = -len(batch) % CPU_ROWS if self.device.type == "cpu" else 0
        return F.pad(batch, (0, 0) * (batch.ndim - 1) + (0, missing))

    def text_encoder(self) -> TextEncoder:
        """The text tower, to encode prompts from the embeddings of their tokens.

        Raises:
            InputError: see TextEncoder.
        """
        return TextEncoder(self.model, self.tokenizer)
