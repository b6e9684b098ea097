"""safetensors files with metadata: how all of ours are read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError
from .files import replaced


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        InputError: the file is missing, or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file, all or nothing; its folder is made where needed.

    Raises:
        InputError: the file cannot be written.
    """
    with replaced(path) as temporary:
        temporary.touch()
        usual_mode = temporary.stat().st_mode
        try:
            save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, temporary, metadata)
            _sort_header(temporary)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        # safetensors makes files that nobody else may read.
        temporary.chmod(usual_mode)


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


def check_format(metadata: Mapping[str, str], expected: str) -> None:
    """Refuse a file of another format.

    Raises:
        InputError: metadata 'format' is not the expected one.
    """
    if metadata.get("format") != expected:
        raise InputError(f"metadata 'format' must be '{expected}', not '{metadata.get('format')}'")


def json_list(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """A list of strings that metadata hold as JSON.

    Raises:
        InputError: it is missing or anything else.
    """
    try:
        values = json.loads(metadata[key])
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"metadata '{key}' must be a JSON list of strings") from error
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"metadata '{key}' must be a JSON list of strings")
    return tuple(values)
