"""Image files as they are found in the wild: odd, damaged, or no images at all."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
END_OF_JPEG = b"\xff\xd9"


def noise(seed: int = 0, channels: int = 3) -> np.ndarray:
    """Pixels, uint8 (HEIGHT, WIDTH, channels)."""
    return np.random.default_rng(seed).integers(0, 256, size=(HEIGHT, WIDTH, channels), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """The bytes of an image file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def jpeg(**options: object) -> bytes:
    """The bytes of a whole JPEG."""
    return encoded(Image.fromarray(noise()), "JPEG", **options)


def cut_jpeg(share: float, ending: bytes = b"", **options: object) -> bytes:
    """The first share of a JPEG, with an ending put to it; END_OF_JPEG makes Pillow fill the rest with grey."""
    content = jpeg(**options)
    return content[: int(len(content) * share)] + ending


def cmyk_jpeg() -> bytes:
    """The bytes of a JPEG with four inks, as printers have them."""
    return encoded(Image.fromarray(noise(channels=4), mode="CMYK"), "JPEG")


def sixteen_bit_png(levels: np.ndarray) -> bytes:
    """The bytes of a PNG with 16 bits of each colour, which Pillow does not write; levels are uint16 (H, W, 3)."""
    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def png_header(width: int, height: int) -> bytes:
    """The bytes of a small PNG that claims to be of another size."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = struct.pack(">2I", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def written(content: bytes) -> Callable[[Path], None]:
    """Gives a function that writes this content to a path."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


MISSING = "a part of the picture is missing"
GREY = encoded(Image.fromarray(noise()).convert("L"), "JPEG")


def tiff(level: float, dtype: type) -> bytes:
    """The bytes of a TIFF of two pixels, the first of which is 0."""
    return encoded(Image.fromarray(np.array([[0, level]], dtype=dtype)), "TIFF")


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda path: None, "No such file or directory"),
    "no byte": (written(b""), "cannot identify image file"),
    "text": (written(b"no image"), "cannot identify image file"),
    "head of a JPEG alone": (written(cut_jpeg(0.05)), ""),
    "a third of a JPEG": (written(cut_jpeg(0.33)), "image file is truncated"),
    "nearly all of a JPEG": (written(cut_jpeg(0.99)), "image file is truncated"),
    "a JPEG without its end": (written(jpeg()[:-2]), "image file is truncated"),
    "half a JPEG with an end": (written(cut_jpeg(0.5, END_OF_JPEG)), MISSING),
    "nearly all of a JPEG with an end": (written(cut_jpeg(0.9, END_OF_JPEG)), MISSING),
    "half a grey JPEG with an end": (written(GREY[:1500] + END_OF_JPEG), MISSING),
    "half a CMYK JPEG with an end": (written(cmyk_jpeg()[:5000] + END_OF_JPEG), MISSING),
    "half a progressive JPEG with an end": (written(cut_jpeg(0.5, END_OF_JPEG, progressive=True)), MISSING),
    "nearly all of a progressive JPEG": (written(cut_jpeg(0.97, END_OF_JPEG, progressive=True)), MISSING),
    "half a PNG": (written(encoded(Image.fromarray(noise()), "PNG")[:3000]), ""),
    "a bomb that Pillow warns of": (written(png_header(10_000, 9_001)), "10000 × 9001 pixels could be a"),
    "a bomb that Pillow refuses": (written(png_header(50_000, 50_000)), "could be decompression bomb"),
    "a line of pixels": (written(encoded(Image.new("RGB", (1, 5000)), "PNG")), "1 × 5000 pixels: one side is more"),
    "32 bits": (written(tiff(70_000, np.int32)), "its levels go from 0 to 70000, not from 0 to 255"),
    "NaN": (written(tiff(np.nan, np.float32)), "its levels go from nan to nan"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "a link to nothing"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "a folder": (Path.mkdir, "a folder"),
    "a pipe": (os.mkfifo, "no regular file"),
}
"""Files that cannot be read, each as a function that makes it and the cause in the message."""
