"""The precision to encode in: a low one only where its embeddings are those of fp32 and finite."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from lare_dassl import vlm
from lare_dassl.embeddings.cache.store import EmbeddingStore

logger = logging.getLogger(__name__)


class PrecisionGuard:
    """Falls back to fp32 where a low precision is not trustworthy on a kind of device.

    Verdicts are kept as facts in the store of the low precision, so that later runs know them before they load a model.

    Args:
        asked: "auto", "fp32", "bf16" or "fp16"; "auto" is compared with fp32 before it is used.
        device: where to encode.

    Attributes:
        precision: to encode in, "fp32", "bf16" or "fp16".
    """

    def __init__(self, asked: str, device: torch.device) -> None:
        self.precision = vlm.resolve_precision(asked, device)
        self._compares = asked == "auto"
        self._agrees = f"agrees_with_fp32_on_{device.type}"
        self._overflows = f"overflows_on_{device.type}"

    def recall(self, store: EmbeddingStore) -> bool:
        """Fall back if an earlier run with this store found reason to; returns whether the precision has changed."""
        facts = store.facts()
        if facts.get(self._overflows):
            return self._fall_back("%s has given NaN or infinity before: encoding in fp32")
        return self._compares and facts.get(self._agrees) is False and self._fall_back()

    def must_compare(self, store: EmbeddingStore) -> bool:
        """Whether the precision has yet to be compared with fp32."""
        return self._compares and self.precision != "fp32" and self._agrees not in store.facts()

    def compare(self, model: vlm.FrozenVLM, source: vlm.VLMSource, store: EmbeddingStore, pixels: Tensor) -> bool:
        """Compare the precision of a model with fp32 on preprocessed images (B, ...), and fall back where they differ.

        Returns:
            True where the precision has changed.
        """
        agrees = vlm.low_precision_agrees(model, source, pixels)
        store.remember(**{self._agrees: agrees})
        return not agrees and self._fall_back("%s embeddings differ from fp32's on this machine: encoding in fp32")

    def note_overflow(self, store: EmbeddingStore, path: str) -> None:
        """Fall back, now and in later runs, since the low precision gave NaN or infinity for an image."""
        store.remember(**{self._overflows: True})
        self._fall_back("%s gives NaN or infinity for %s: encoding all images in fp32", path)

    def _fall_back(self, reason: str = "", *details: str) -> bool:
        if reason:
            logger.warning(reason, self.precision, *details)
        self.precision = "fp32"
        return True
