"""safetensors files with metadata: how all of ours are read and written.

safetensors itself keeps no checksum. Each file of ours has one of all else in its metadata, `sha256`, which is checked
on reading; a file of others may leave it out, and is then taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lare_dassl.errors import InputError

from .files import replaced, scratch_folder
from .json_files import parse_json

DIGEST = "sha256"
"""The metadata that keep the checksum."""


def read_tensors(path: Path, expected: str, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Args:
        path: of the file.
        expected: its format, which the metadata name.
        advice: what to do where it is damaged, for the message.

    Raises:
        InputError: the file is missing, no safetensors file, of another format, or does not match its checksum.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != expected:
        raise InputError(f"{path}: metadata 'format' must be '{expected}', not '{metadata.get('format')}'")
    if DIGEST in metadata and metadata[DIGEST] != content_sha256(tensors, metadata):
        raise InputError(f"{path} is damaged: its content does not match the {DIGEST} in its metadata: {advice}")
    return tensors, metadata


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> str:
    """Write a file, all or nothing; its folder is made where needed.

    Returns:
        The checksum that was put into its metadata.

    Raises:
        InputError: the file cannot be written.
    """
    content = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    digest = content_sha256(content, metadata)
    with replaced(path) as temporary, scratch_folder(path) as folder:
        temporary.touch()
        usual_mode = temporary.stat().st_mode
        # safetensors makes a temporary file of its own beside what it writes, and leaves it there if it is killed.
        written = folder / "tensors"
        try:
            save_file(content, written, metadata | {DIGEST: digest})
            _sort_header(written)
        except SafetensorError as error:
            raise _as_os_error(error) from error
        # It makes files that nobody else may read.
        written.chmod(usual_mode)
        written.replace(temporary)
    return digest


def _as_os_error(error: SafetensorError) -> OSError:
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def _sort_header(path: Path) -> None:
    """Put the metadata of a file in order: safetensors writes them in another one in every process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        # The tensors stay where they are, so the header keeps its length, which spaces may fill up.
        if len(content) <= length:
            file.seek(8)
            file.write(content.ljust(length))


def content_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The sha256 of tensors, on the CPU and contiguous, and of metadata but for their checksum."""
    told = {key: value for key, value in metadata.items() if key != DIGEST}
    content = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for key in sorted(tensors):
        content.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        content.update(tensors[key].reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def json_list(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A list of strings that metadata hold as JSON.

    Raises:
        InputError: it is missing or anything else.
    """
    try:
        values = parse_json(metadata[key])
    except (KeyError, ValueError) as error:
        raise InputError(f"metadata '{key}' must be a JSON list of strings") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"metadata '{key}' must be a JSON list of strings")
    return tuple(values)
