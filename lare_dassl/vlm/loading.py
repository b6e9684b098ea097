"""Loading a model, its tokenizer and its preprocessing from its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lare_dassl.errors import InputError

from .frozen import DTYPES, FrozenVLM
from .openclip import LOCAL_DIR_PREFIX, PreprocessCfg, image_transform_v2, open_clip
from .resolving import merges_file, resolve_folder
from .source import VLMSource


def load(source: VLMSource, precision: str, device: torch.device) -> FrozenVLM:
    """Load a model to encode with.

    Args:
        source: from `resolve`.
        precision: "fp32", "bf16" or "fp16".
        device: where to encode.

    Raises:
        InputError: the weights file is damaged or belongs to another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        # Random weights, where asked for, are the same each time, so that what they encode can be cached.
        torch.default_generator.manual_seed(0)
        model = _create(source)
    # Before the cast: bf16 would round 100 to 98.9.
    scale = float(model.logit_scale.detach().exp()) if hasattr(model, "logit_scale") else 100.0
    model = model.to(device, DTYPES[precision]).eval().requires_grad_(False)
    return FrozenVLM(model, _transform(model), tokenizer_of(source), device, precision, scale)


def _create(source: VLMSource) -> Any:
    try:
        if source.open_clip_name.startswith(LOCAL_DIR_PREFIX):
            return open_clip.create_model(source.open_clip_name, load_weights=source.weights is not None)
        pretrained = str(source.weights) if source.weights else None
        return open_clip.create_model(
            source.open_clip_name, pretrained=pretrained, force_preprocess_cfg=source.preprocess
        )
    except Exception as error:
        # open_clip passes on whatever the readers of weights raise, and safetensors' errors share no base.
        cause = " ".join(str(error).split())[:200]
        raise InputError(f"weights {source.weights} do not load into model {source.model}: {cause}") from error


def _transform(model: nn.Module) -> Callable[[Any], Tensor]:
    return image_transform_v2(PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False)


def tokenizer_of(source: VLMSource) -> Callable[[Sequence[str]], Tensor]:
    """The tokenizer of a model; a merges file that a model folder names is read from that folder."""
    try:
        return _open_tokenizer(source)
    except (ImportError, OSError) as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(
            f"the tokenizer of {source.model} cannot be had ({cause}): pip install transformers"
        ) from error


def _open_tokenizer(source: VLMSource) -> Callable[[Sequence[str]], Tensor]:
    if source.open_clip_name.startswith(LOCAL_DIR_PREFIX):
        merges = merges_file(source.architecture, Path(source.open_clip_name.removeprefix(LOCAL_DIR_PREFIX)))
        if merges is not None:
            return open_clip.get_tokenizer(source.open_clip_name, bpe_path=str(merges))
    return open_clip.get_tokenizer(source.open_clip_name)


def build_untrained(folder: Path) -> tuple[nn.Module, Callable[[Sequence[str]], Tensor], Callable[[Any], Tensor]]:
    """A model folder's architecture with random weights, its tokenizer and its preprocessing, to pretrain.

    Raises:
        InputError: the folder holds no open_clip configuration.
    """
    source = resolve_folder(str(folder), folder, allow_random=True)
    model = open_clip.create_model(source.open_clip_name, load_weights=False)
    return model, tokenizer_of(source), _transform(model)
