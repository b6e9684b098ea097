"""The official files of CIFAR-100. They are pickles, which can run anything; this way of reading runs nothing."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lare_dassl.datasets.base.class_names import CIFAR100_CLASSES
from lare_dassl.datasets.base.sources import how_to_get
from lare_dassl.errors import InputError

ORIGIN = "cifar100"
SIDE = 32
ROW_BYTES = 3 * SIDE * SIDE
LONGEST_CAUSE = 200

BYTE_TYPES = ("u1", "|u1", b"u1", b"|u1")


class _Array:
    """What stands in a pickle for a numpy array of bytes, of (N, ...) uint8."""

    def __init__(self) -> None:
        self.values = np.zeros(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        if not isinstance(kind, _ByteType) or not isinstance(raw, bytes) or math.prod(shape) != len(raw):
            raise ValueError("an array whose bytes do not fit its shape")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _ByteType:
    """What stands in a pickle for the numpy type of bytes, whatever else the pickle says of it."""

    def __setstate__(self, state: Any) -> None:
        pass


# Not a class: a pickle could write attributes to that.
_NDARRAY = object()


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _NDARRAY:
        raise ValueError("an array of no known class")
    return _Array()


def _dtype(code: Any, *_: Any) -> _ByteType:
    if code not in BYTE_TYPES:
        raise ValueError(f"an array of {code!r}, not of bytes")
    return _ByteType()


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes that are not written as latin1")
    return text.encode("latin1")


# numpy's own would take a type with forged flags, and with it bytes of the file for addresses.
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
}
"""Stand-ins for all that an array of bytes needs, by the module and name that a pickle asks for."""


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


class _ArrayUnpickler(pickle._Unpickler):
    """An unpickler that knows arrays of bytes and refuses to look up anything else.

    It is the one in Python: that in C makes room for as many values as a file of some bytes says that it will keep.
    """

    def __init__(self, file: Any, path: Path) -> None:
        # Python 2 wrote the files: its strings are bytes.
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The stand-in of an allowed name.

        Raises:
            InputError: any other name.
        """
        if (module_name, global_name) not in ALLOWED:
            raise InputError(
                f"'{self._path}' asks for {f'{module_name}.{global_name}'!r}, which the official files of CIFAR-100 "
                f"do not; nothing of it was run: {how_to_get(ORIGIN)}"
            )
        return ALLOWED[module_name, global_name]


def read_rows(file: Path) -> CifarRows:
    """Read and check `train` or `test`.

    Raises:
        InputError: the file is missing, damaged, asks for anything but numpy arrays, or does not hold the images,
            labels and names of an official one.
    """
    content = _read(file)
    data, labels, names = (_entry(file, content, key) for key in (b"data", b"fine_labels", b"filenames"))
    if not isinstance(data, _Array) or data.values.shape[1:] != (ROW_BYTES,):
        raise _other(file, f"'data' is no array of bytes (N, {ROW_BYTES:,})")
    if not _all_are(int, labels) or not all(0 <= label < len(CIFAR100_CLASSES) for label in labels):
        raise _other(file, f"'fine_labels' is no list of labels from 0 to {len(CIFAR100_CLASSES) - 1}")
    if not _all_are(bytes, names):
        raise _other(file, "'filenames' is no list of names")
    if not len(data.values) == len(labels) == len(names):
        raise _other(file, f"it has {len(data.values):,} images, {len(labels):,} labels and {len(names):,} names")
    images = data.values.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return CifarRows(np.ascontiguousarray(images), labels, [name.decode("utf-8", "replace") for name in names])


def check_class_names(file: Path) -> None:
    """Check that `meta` gives the labels the names of CIFAR100_CLASSES.

    Raises:
        InputError: the file is missing, damaged, asks for anything but numpy arrays, or has other names.
    """
    names = _entry(file, _read(file), b"fine_label_names")
    if names != [name.encode() for name in CIFAR100_CLASSES]:
        raise _other(file, f"'fine_label_names' is not the list of the {len(CIFAR100_CLASSES)} classes")


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, path).load()
    except InputError:
        raise
    # A damaged pickle raises anything: EOFError, MemoryError, TypeError, whatever its bytes happen to ask for.
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_CAUSE]
        raise InputError(f"cannot read '{path}' ({cause}): {how_to_get(ORIGIN)}") from error


def _entry(file: Path, content: Any, key: bytes) -> Any:
    if not isinstance(content, dict) or key not in content:
        raise _other(file, f"it has no '{key.decode()}'")
    return content[key]


def _all_are(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _other(file: Path, problem: str) -> InputError:
    return InputError(f"'{file}' is no official file of CIFAR-100, {problem}: {how_to_get(ORIGIN)}")
