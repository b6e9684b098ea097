"""Image files as they are found in the wild: odd, damaged, or no images at all."""

from __future__ import annotations

import io
import os
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
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def png_header(width: int, height: int) -> bytes:
    """The bytes of a small PNG that claims to be of another size."""
    content = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def write_as(content: bytes) -> Callable[[Path], None]:
    """What writes this content to a path."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _dead_link(path: Path) -> None:
    path.symlink_to("gone")


# What makes each file that cannot be read, and the cause that is told.
UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda path: None, "No such file or directory"),
    "no byte": (write_as(b""), "cannot identify image file"),
    "text": (write_as(b"no image"), "cannot identify image file"),
    "head of a JPEG alone": (write_as(cut_jpeg(0.05)), ""),
    "a third of a JPEG": (write_as(cut_jpeg(0.33)), "image file is truncated"),
    "nearly all of a JPEG": (write_as(cut_jpeg(0.99)), "image file is truncated"),
    "a JPEG without its end": (write_as(jpeg()[:-2]), "image file is truncated"),
    "half a JPEG with an end": (write_as(cut_jpeg(0.5, END_OF_JPEG)), "a part of the picture is missing"),
    "nearly all of a JPEG with an end": (write_as(cut_jpeg(0.9, END_OF_JPEG)), "a part of the picture is missing"),
    "half a grey JPEG with an end": (
        write_as(encoded(Image.fromarray(noise()).convert("L"), "JPEG")[:1500] + END_OF_JPEG),
        "a part of the picture is missing",
    ),
    "half a CMYK JPEG with an end": (write_as(cmyk_jpeg()[:5000] + END_OF_JPEG), "a part of the picture is missing"),
    "half a progressive JPEG with an end": (
        write_as(cut_jpeg(0.5, END_OF_JPEG, progressive=True)),
        "a part of the picture is missing",
    ),
    "nearly all of a progressive JPEG with an end": (
        write_as(cut_jpeg(0.97, END_OF_JPEG, progressive=True)),
        "a part of the picture is missing",
    ),
    "half a PNG": (write_as(encoded(Image.fromarray(noise()), "PNG")[:3000]), ""),
    "a bomb that Pillow warns of": (write_as(png_header(10_000, 9_001)), "10000 × 9001 pixels could be a"),
    "a bomb that Pillow refuses": (write_as(png_header(50_000, 50_000)), "could be decompression bomb"),
    "a line of pixels": (write_as(encoded(Image.new("RGB", (1, 5000)), "PNG")), "1 × 5000 pixels: one side is more"),
    "32 bits": (
        write_as(encoded(Image.fromarray(np.array([[0, 70_000]], dtype=np.int32)), "TIFF")),
        "its levels go from 0 to 70000, not from 0 to 255",
    ),
    "NaN": (
        write_as(encoded(Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)), "TIFF")),
        "its levels go from nan to nan",
    ),
    "a link to nothing": (_dead_link, "a link to nothing"),
    "a link to itself": (_link_loop, "Too many levels of symbolic links"),
    "a folder": (Path.mkdir, "a folder"),
    "a pipe": (os.mkfifo, "no regular file"),
}
