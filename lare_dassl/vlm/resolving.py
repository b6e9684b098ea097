"""From the names of a model and its weights to its source."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lare_dassl.errors import InputError
from lare_dassl.io.json_files import read_json

from .names import check_names
from .openclip import LOCAL_DIR_PREFIX, open_clip
from .source import VLMSource
from .weights import download_folder, locate

logger = logging.getLogger(__name__)

# The argument by which transformers runs code that lies beside a tokenizer.
REMOTE_CODE = "trust_remote_code"


def resolve(model: str, pretrained: str, allow_random: bool = False) -> VLMSource:
    """Find a model's architecture and weights; those of a tag are downloaded where this machine lacks them.

    Args:
        model: an open_clip model name, "demo", `local-dir:FOLDER` or `hf-hub:NAME` (MODEL.BACKBONE.NAME).
        pretrained: an open_clip tag or a weights file (VLM.PRETRAINED); "" for a folder that holds its weights.
        allow_random: take random weights where `pretrained` is "" (VLM.ALLOW_RANDOM).

    Raises:
        InputError: unknown model or tag, missing file, no weights asked for, or no network to get them by.
    """
    schema, identifier = check_names(model, pretrained, allow_random)
    if schema is None:
        return _resolve_named(model, pretrained)
    folder = Path(identifier) if schema == "local-dir" else download_folder(identifier)
    return resolve_folder(model, folder, allow_random)


def _resolve_named(model: str, pretrained: str) -> VLMSource:
    name = model.replace("/", "-")
    architecture = open_clip.get_model_config(name)
    if not pretrained:
        return VLMSource(model, name, "", None, architecture, {})
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if tag.get("quick_gelu") and not architecture.get("quick_gelu"):
        logger.warning("%s was trained with another activation: name the model %s-quickgelu", pretrained, name)
    weights = locate(model, pretrained, tag) if tag else Path(pretrained)
    preprocess = _preprocess_of(tag) if tag else _common_preprocess(name, tags)
    return VLMSource(model, name, pretrained, weights, architecture, preprocess)


def _preprocess_of(tag: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tag.items() if key in ("mean", "std", "interpolation", "resize_mode")}


def _common_preprocess(name: str, tags: Sequence[str]) -> dict[str, Any]:
    """The preprocessing of a weights file that no tag names: that of the architecture's tags, where they agree."""
    known = [_preprocess_of(open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    if known and all(one == known[0] for one in known):
        return known[0]
    if known:
        logger.warning("the weights of %s differ in preprocessing: a weights file gets open_clip's default", name)
    return {}


def resolve_folder(model: str, folder: Path, allow_random: bool) -> VLMSource:
    """The source of a model folder.

    Raises:
        InputError: it holds no configuration of open_clip, or no weights and `allow_random` is False.
    """
    config_file = folder / "open_clip_config.json"
    try:
        config = read_json(config_file)
        architecture, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"model {model}: {config_file} is missing or holds no 'model_cfg'") from error
    if REMOTE_CODE in json.dumps(config):
        raise InputError(f"model {model}: {config_file} asks to run code ({REMOTE_CODE}): take that out")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not allow_random:
        raise InputError(f"model {model}: no .safetensors weights in {folder}")
    name = f"{LOCAL_DIR_PREFIX}{folder}"
    merges = merges_file(architecture, folder)
    if merges is not None and merges.is_file():
        # Texts depend on the tokenizer too.
        architecture = architecture | {"merges_sha256": hashlib.sha256(merges.read_bytes()).hexdigest()}
    return VLMSource(model, name, "", weights[0] if weights else None, architecture, preprocess)


def merges_file(architecture: dict[str, Any], folder: Path) -> Path | None:
    """The tokenizer's merges file that a model folder's configuration names, if any."""
    name = architecture.get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    return folder / name if name else None
