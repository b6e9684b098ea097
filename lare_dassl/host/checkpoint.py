"""Checkpoint files: written whole or not at all, read without running code from them."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..files import replaced

BEST = "model-best.pth.tar"
POINTER = "checkpoint"
# What torch.load raises on damaged files, as found by damaging some at random places.
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, pickle.UnpicklingError)


def epoch_file(epoch: int) -> str:
    """File name of the checkpoint after `epoch` epochs."""
    return f"model.pth.tar-{epoch}"


def write(state: dict[str, Any], folder: Path, name: str) -> None:
    """Write a checkpoint and note it as the folder's latest; a kill leaves the old files whole.

    Args:
        state: tensors, numbers, strings and containers of them.
        folder: the model's folder, made where it is missing.
        name: file name of the checkpoint.

    Raises:
        InputError: the folder cannot be written to.
    """
    save(state, folder / name)
    with replaced(folder / POINTER) as temporary:
        temporary.write_text(f"{name}\n", encoding="utf-8")


def save(content: Any, path: Path) -> None:
    """Write what torch can save, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    # Told of a full disk, torch.save says that some position is not the one expected.
    torch.save(content, buffer)
    with replaced(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def latest(folder: Path) -> Path | None:
    """The checkpoint that was written last in a model's folder, where there is one.

    Raises:
        InputError: the file that names it is damaged.
    """
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    try:
        return folder / pointer.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{pointer} is damaged: write the name of a checkpoint into it, or delete {folder}") from error


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"no checkpoint at '{path}': check --model-dir and --load-epoch")
    try:
        _check_content(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGE, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"the checkpoint '{path}' cannot be read ({reason}): delete it and train again") from error
    if not isinstance(state, dict):
        raise InputError(f"the checkpoint '{path}' holds a {type(state).__name__}, not a model: delete it")
    return state


def _check_content(path: Path) -> None:
    """Compare a file's checksums with its content, which torch.load does not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def load_weights(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into its model.

    Raises:
        InputError: the weights are another model's.
    """
    try:
        model.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the checkpoint '{path}' is of another model: {reason}") from error
