"""safetensors files with metadata: how all of ours are read and written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError
from .files import replaced, scratch_folder


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
    with replaced(path) as temporary, scratch_folder(path) as folder:
        temporary.touch()
        usual_mode = temporary.stat().st_mode
        # safetensors makes a temporary file of its own beside what it writes, and leaves it there if it is killed.
        written = folder / "tensors"
        try:
            save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, written, metadata)
        except SafetensorError as error:
            raise _as_os_error(error) from error
        # It makes files that nobody else may read.
        written.chmod(usual_mode)
        written.replace(temporary)


def _as_os_error(error: SafetensorError) -> OSError:
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


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
