"""Weights files: in the caches of this machine, else downloaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from lare_dassl.errors import InputError
from lare_dassl.system import network

from .openclip import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, open_clip

logger = logging.getLogger(__name__)


def locate(model: str, pretrained: str, tag: dict[str, Any]) -> Path:
    """The weights file of a tag: from the local cache, else downloaded, if a short probe reaches the network.

    Args:
        model: the model's name, for messages.
        pretrained: the tag's name, for messages.
        tag: open_clip's configuration of the tag.

    Raises:
        InputError: there is no network, or the download fails.
    """
    cached = cached_weights(tag)
    if cached is not None:
        return cached
    if not network.reachable(_tag_url(tag)):
        raise InputError(
            f"no weights for {model} ({pretrained}) in {_cache_folder(tag)} and no network to download them: "
            "copy them there, or set VLM.PRETRAINED to the path of a weights file"
        )
    logger.info("downloading weights of %s (%s)", model, pretrained)
    try:
        return Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise InputError(f"download of {model} ({pretrained}) failed: {' '.join(str(error).split())}") from error


def _hub_file(tag: dict[str, Any]) -> tuple[str, list[str]]:
    """Repository and the file names to look for, best first."""
    repository, _, filename = tag["hf_hub"].rpartition("/")
    filename = filename or HF_WEIGHTS_NAME
    return repository, [*safe_alternatives(filename), filename]


def safe_alternatives(filename: str) -> list[str]:
    """The safetensors files that open_clip prefers to a weights file of another name."""
    if filename == HF_WEIGHTS_NAME:
        return [HF_SAFE_WEIGHTS_NAME]
    return [f"{filename[:-4]}.safetensors"] if filename.endswith((".bin", ".pth")) else []


def cached_weights(tag: dict[str, Any]) -> Path | None:
    """The weights file of a tag in the caches of this machine; None where they lack it."""
    if tag.get("hf_hub"):
        repository, filenames = _hub_file(tag)
        found = (try_to_load_from_cache(repository, filename) for filename in filenames)
        return next((Path(path) for path in found if isinstance(path, str)), None)
    path = _cache_folder(tag) / Path(tag["url"]).name
    return path if path.is_file() else None


def _cache_folder(tag: dict[str, Any]) -> Path:
    return Path(HF_HUB_CACHE) if tag.get("hf_hub") else Path("~/.cache/clip").expanduser()


def _tag_url(tag: dict[str, Any]) -> str:
    if not tag.get("hf_hub"):
        return str(tag["url"])
    repository, filenames = _hub_file(tag)
    return hf_hub_url(repository, filenames[-1])


def download_folder(identifier: str) -> Path:
    """The local copy of a hub model's files; without network, the one in the local cache.

    Raises:
        InputError: there is none, or the download fails.
    """
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        reachable = network.reachable(hf_hub_url(identifier, "open_clip_config.json"))
        return Path(snapshot_download(identifier, allow_patterns=patterns, local_files_only=not reachable))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"model hf-hub:{identifier} is not in the local hub cache and there is no network: "
            "give local-dir:FOLDER with its files"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"model hf-hub:{identifier}: {' '.join(str(error).split())}") from error
