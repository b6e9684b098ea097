"""Checkpoint files: written whole or not at all, read without running code from them.

Beside Dassl's keys a checkpoint has `sha256`, the checksum of its loaded content: the checksums of torch's zip do not
cover the zip's directory, and damage there can make torch return uninitialised memory for a tensor. The pointer file
that names the latest checkpoint, in Dassl's format, has a checksum in its second line, which Dassl does not read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lare_dassl.errors import InputError

from .files import replaced

BEST = "model-best.pth.tar"
POINTER = "checkpoint"
DIGEST = "sha256"
"""The key of the checksum."""


def epoch_file(epoch: int) -> str:
    """File name of the checkpoint after `epoch` epochs."""
    return f"model.pth.tar-{epoch}"


def write(state: dict[str, Any], folder: Path, name: str) -> None:
    """Write a checkpoint and note it as the folder's latest; a kill leaves the old files whole.

    Args:
        state: tensors, numbers, strings and containers with these.
        folder: the model's folder, made where it is missing.
        name: file name of the checkpoint.

    Raises:
        InputError: the folder cannot be written to.
    """
    save(state | {DIGEST: _content_sha256(state)}, folder / name)
    with replaced(folder / POINTER) as temporary:
        temporary.write_text(f"{name}\n{_sha256(name)}\n", encoding="utf-8")


def save(content: Any, path: Path) -> None:
    """Write a content that torch can save, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    content = _with_own_storage(content)
    # On a full disk torch.save itself would fail with a message about a file position.
    torch.save(content, buffer)
    with replaced(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _with_own_storage(content: Any) -> Any:
    """Copy tensors that are views: torch saves the whole storage, for one run of several the parameters of all."""
    if isinstance(content, torch.Tensor):
        return content.clone() if content.untyped_storage().nbytes() > content.nbytes else content
    if isinstance(content, dict):
        return type(content)((key, _with_own_storage(value)) for key, value in content.items())
    return type(content)(map(_with_own_storage, content)) if type(content) in (list, tuple) else content


def latest(folder: Path) -> Path | None:
    """Return the checkpoint that was written last in a model's folder, None where there is none.

    Raises:
        InputError: the file that names it is damaged.
    """
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    # Dassl writes the name alone, without the second line.
    name, end, rest = pointer.read_text(encoding="utf-8", errors="replace").partition("\n")
    plain = name.isprintable() and Path(name).name == name and name not in ("", "..")
    if not (end and plain and rest.strip() in ("", _sha256(name))):
        raise InputError(f"{pointer} is damaged: write the name of a checkpoint into it, or delete {folder}")
    return folder / name


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


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
    # Damaged bytes lead zipfile and torch to errors of any kind.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"the checkpoint '{path}' cannot be read ({reason}): delete it and train again") from error
    if not isinstance(state, dict):
        raise InputError(f"the checkpoint '{path}' holds a {type(state).__name__}, not a model: delete it")
    if DIGEST in state and state.pop(DIGEST) != _content_sha256(state):
        raise InputError(
            f"the checkpoint '{path}' is damaged (its content does not match its {DIGEST}): delete it and train again"
        )
    return state


def _content_sha256(state: dict[str, Any]) -> str:
    content = hashlib.sha256()
    for piece in _pieces(state):
        content.update(piece)
    return content.hexdigest()


def _pieces(content: Any) -> Iterator[bytes | memoryview]:
    """Turn tensors, plain values and nested containers into bytes that differ for any two contents."""
    if isinstance(content, Tensor):
        yield f"{content.dtype} {tuple(content.shape)}\n".encode()
        yield content.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(content, dict | list | tuple):
        yield f"{len(content)} in {'{}' if isinstance(content, dict) else '[]'}\n".encode()
        for part in content.items() if isinstance(content, dict) else content:
            yield from _pieces(part)
    else:
        yield f"{type(content).__name__} {content!r}\n".encode()


def check_holds(path: Path, state: dict[str, Any], names: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks something.

    Raises:
        InputError: names the first missing key.
    """
    lacking = [name for name in names if name not in state]
    if lacking:
        raise InputError(f"the checkpoint '{path}' has no '{lacking[0]}', which this version writes: delete it")


def _check_content(path: Path) -> None:
    """Check the checksums of the zip, which torch.load does not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        if any(part.compress_type != zipfile.ZIP_STORED or part.external_attr for part in file.infolist()):
            raise zipfile.BadZipFile("it has compressed parts or folders, as torch writes none")
        damaged = file.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def load_weights(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into its model.

    Raises:
        InputError: the weights are missing or belong to another model.
    """
    check_holds(path, state, ["state_dict"])
    try:
        model.load_state_dict(state["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the checkpoint '{path}' is of another model: {reason}") from error
