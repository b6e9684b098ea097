"""safetensors files with metadata: reading and writing of all ours.

safetensors itself keeps no checksum. Each file of ours has in its metadata `sha256`, the checksum of tensors and other
metadata, which is checked on reading. Files of others may omit it and are then not checked.
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
"""Key of the checksum in the metadata."""


def read_tensors(path: Path, expected: str, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a file.

    Args:
        path: of the file.
        expected: the `format` that the metadata must have.
        advice: what to do with a damaged file, for the message.

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
    content = _apart(tensors)
    digest = content_sha256(content, metadata)
    with replaced(path) as temporary, scratch_folder(path) as folder:
        temporary.touch()
        usual_mode = temporary.stat().st_mode
        # safetensors writes to a temporary file of its own in the same folder, which a kill would leave behind.
        written = folder / "tensors"
        try:
            save_file(content, written, metadata | {DIGEST: digest})
            _sort_header(written)
        except SafetensorError as error:
            raise _as_os_error(error) from error
        # It makes files that only their owner may read.
        written.chmod(usual_mode)
        written.replace(temporary)
    return digest


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU and contiguous; one that overlaps another in memory, which safetensors refuses, copied."""
    content: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        content[key] = plain.clone() if any(_overlap(plain, other) for other in content.values()) else plain
    return content


def _overlap(first: Tensor, second: Tensor) -> bool:
    start, other = first.data_ptr(), second.data_ptr()
    return start < other + second.nbytes and other < start + first.nbytes


def _as_os_error(error: SafetensorError) -> OSError:
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def _sort_header(path: Path) -> None:
    """Sort the metadata of a file, which safetensors writes in another order in every process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        content = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        # The tensors stay where they are: spaces fill the header to its old length.
        if len(content) <= length:
            file.seek(8)
            file.write(content.ljust(length))


def content_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the sha256 of tensors, on the CPU and contiguous, and of metadata without their checksum."""
    described = {key: value for key, value in metadata.items() if key != DIGEST}
    content = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for key in sorted(tensors):
        content.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        content.update(tensors[key].reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def json_list(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Return a list of strings that the metadata hold as JSON.

    Raises:
        InputError: the list is missing, or is no list of strings.

    >>> json_list({"classnames": '["cat", "dog"]'}, "classnames")
    ('cat', 'dog')
    """
    try:
        values = parse_json(metadata[key])
    except (KeyError, ValueError) as error:
        raise InputError(f"metadata '{key}' must be a JSON list of strings") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"metadata '{key}' must be a JSON list of strings")
    return tuple(values)
