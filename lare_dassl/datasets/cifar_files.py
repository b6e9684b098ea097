"""The official files of CIFAR-100. They are pickles, which can run anything; reading them here runs nothing."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lare_dassl.datasets.base.class_names import CIFAR100_CLASSES
from lare_dassl.datasets.base.sources import how_to_get
from lare_dassl.errors import InputError

ORIGIN = "cifar100"
SIDE = 32
LONGEST_CAUSE = 200

MD5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
"""The md5 of each official file with images."""

ARRAY_NAMES = (
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
)


class _ByteType:
    """Stand-in for numpy's type of bytes, in a pickle; what else the pickle says of the type is ignored."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise ValueError(f"an array of {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stand-in for a numpy array of bytes, in a pickle."""

    values = np.zeros(0, np.uint8)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        if not isinstance(kind, _ByteType) or not isinstance(raw, bytes) or math.prod(shape) != len(raw):
            raise ValueError("an array whose bytes do not fit its shape")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of plain containers and arrays of bytes, which looks up nothing else."""

    def find_class(self, module_name: str, global_name: str, /) -> type:
        # numpy's own would take a type with forged flags, and with it bytes of the file for addresses.
        if (module_name, global_name) == ("numpy", "dtype"):
            return _ByteType
        if (module_name, global_name) in ARRAY_NAMES:
            return _Array
        asked = f"{module_name}.{global_name}"
        raise pickle.UnpicklingError(f"it asks for {asked!r}, which no official file does; nothing of it was run")


@dataclass(frozen=True)
class CifarRows:
    """One split of CIFAR-100, in official order.

    Attributes:
        images: (N, 32, 32, 3) uint8, RGB.
        labels: N labels, indices into CIFAR100_CLASSES.
        names: N file names, as the files give them.
    """

    images: np.ndarray
    labels: list[int]
    names: list[str]


def read_rows(file: Path) -> CifarRows:
    """Read and check `train` or `test`.

    Raises:
        InputError: the file cannot be read, asks for anything but arrays of bytes, or does not hold images, labels and
            names as an official one does.
    """
    content = _unpickled(file)
    data, labels, names = (content.get(key, []) for key in (b"data", b"fine_labels", b"filenames"))
    rows = data.values if isinstance(data, _Array) else np.zeros(0, np.uint8)
    are_rows = rows.shape[1:] == (3 * SIDE * SIDE,) and _are(int, labels, len(rows)) and _are(bytes, names, len(rows))
    if not are_rows or not {*labels} <= {*range(len(CIFAR100_CLASSES))}:
        holds = f"'data' of N rows of {3 * SIDE * SIDE:,} bytes, N 'fine_labels' from 0 to 99 and N 'filenames'"
        raise InputError(f"'{file}' is no file of CIFAR-100, which has {holds}: {how_to_get(ORIGIN)}")
    images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return CifarRows(np.ascontiguousarray(images), labels, [name.decode("utf-8", "replace") for name in names])


def check_class_names(file: Path) -> None:
    """Refuse a file `meta` whose classes are not CIFAR100_CLASSES, in their order.

    Raises:
        InputError: it has others, or cannot be read, or asks for anything but arrays of bytes.
    """
    if _unpickled(file).get(b"fine_label_names") != [name.encode() for name in CIFAR100_CLASSES]:
        raise InputError(
            f"'{file}' is no file of CIFAR-100, whose 'fine_label_names' are its 100 classes: {how_to_get(ORIGIN)}"
        )


def _unpickled(file: Path) -> dict[Any, Any]:
    """The dictionary that a file holds; {} where it holds something else."""
    try:
        content = file.read_bytes()
        for opcode, place, _ in pickletools.genops(content):
            # The unpickler makes room for as many values as a place says.
            if isinstance(place, int) and opcode.name.endswith("PUT") and place > len(content):
                raise ValueError(f"room for {place:,} values")
        # Python 2 wrote the official files: their strings are bytes.
        found = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    # A damaged pickle raises anything: EOFError, MemoryError, TypeError, whatever its bytes happen to ask for.
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_CAUSE]
        raise InputError(f"cannot read '{file}' ({cause}): {how_to_get(ORIGIN)}") from error
    return found if isinstance(found, dict) else {}


def _are(kind: type, values: Any, size: int) -> bool:
    return isinstance(values, list) and len(values) == size and all(type(value) is kind for value in values)
