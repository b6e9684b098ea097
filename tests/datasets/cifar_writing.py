"""Official files of CIFAR-100 as Python 2 wrote them, small."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lare_dassl.datasets.base.class_names import CIFAR100_CLASSES

_EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01bt\x52"
_BYTE_TYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def python2_pickle(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 writes it: strings are bytes, arrays are of numpy.core."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        shape = b"(" + b"".join(map(_opcodes, value.shape)) + b"t"
        state = b"(K\x01" + shape + _BYTE_TYPE + b"\x89" + _opcodes(value.tobytes()) + b"t"
        return _EMPTY_ARRAY + state + b"b"
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    return b"}(" + b"".join(_opcodes(part) for pair in value.items() for part in pair) + b"u"


def pixels(row: int) -> np.ndarray:
    """The image of a row: (32, 32, 3) uint8 noise."""
    return np.random.default_rng(row).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)


def official_rows(labels: Sequence[int], first: int = 0) -> dict[bytes, Any]:
    """What `train` or `test` holds, with all images of one class under one name."""
    data = np.stack([pixels(first + row).transpose(2, 0, 1).reshape(-1) for row in range(len(labels))])
    names = [CIFAR100_CLASSES[label].encode() + b"_s_000001.png" for label in labels]
    coarse = [0] * len(labels)
    return {
        b"data": data,
        b"fine_labels": list(labels),
        b"coarse_labels": coarse,
        b"filenames": names,
        b"batch_label": b"x",
    }


def official_meta() -> dict[bytes, Any]:
    """What `meta` holds."""
    return {b"fine_label_names": [name.encode() for name in CIFAR100_CLASSES], b"coarse_label_names": [b"flowers"]}


def write_official(folder: Path, contents: Mapping[str, Any]) -> Path:
    """Write official files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(python2_pickle(content))
    return folder
