"""Devices, and which precision to encode in."""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

from .frozen import FrozenVLM
from .loading import load
from .source import VLMSource

logger = logging.getLogger(__name__)

# Mean cosine between low-precision and fp32 embeddings below which low precision is not used.
LEAST_COSINE = 0.999


def resolve_precision(precision: str, device: torch.device) -> str:
    """The precision that is asked for, where "auto" is bf16 if the device has it natively, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if _native_bf16(device) else "fp32"


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def low_precision_agrees(low: FrozenVLM, source: VLMSource, pixels: Tensor) -> bool:
    """Whether a low-precision model gives fp32's embeddings: mean cosine of at least 0.999 on a batch (B, 3, H, W)."""
    reference = load(source, "fp32", low.device).encode_images(pixels)
    cosine = (reference * low.encode_images(pixels)).sum(dim=-1).mean()
    logger.info("cosine between %s and fp32 embeddings: %.5f", low.precision, cosine)
    return bool(cosine >= LEAST_COSINE)


@functools.cache
def available_device(use_cuda: bool = True) -> torch.device:
    """CUDA where there is one and it may be used, else Apple's MPS, else the CPU."""
    if use_cuda and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if use_cuda and torch.backends.mps.is_available() else "cpu")
