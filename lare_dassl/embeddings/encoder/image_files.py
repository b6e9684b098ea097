"""Reading an image file as an RGB picture, with checks that Pillow lacks.

Pillow silently gives a wrong picture for levels beyond 8 bits and for a JPEG that lacks a part; it waits for ever on a
pipe, and only warns of a size that takes gigabytes. Here each of these is an error with the cause in a few words.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from lare_dassl.errors import InputError

# Greatest ratio of the sides: preprocessing resizes the short side to the model's size before it crops the long one.
LONGEST_SIDE = 1000
# Levels with which JPEG decoders fill missing blocks; CMYK is stored inverted.
FILLING = {127, 128}
END_OF_JPEG = b"\xff\xd9"
# Bytes that a decoder takes for blocks if it still waits for some, at whichever of the eight restart marks it waits.
_BLOCKS = bytes(range(1, 200, 3))
BEHIND_LAST_BLOCK = _BLOCKS + b"".join(bytes([0xFF, 0xD0 + number]) + _BLOCKS for number in range(8))
SIXTEEN_BIT_FORMATS = ("PNG", "PPM")


def read_rgb(path: Path) -> Image.Image:
    """The picture of an image file: of an animation the first frame, not rotated by EXIF, without transparency.

    Raises:
        InputError: the file is missing, damaged, no image, or too large; the message is the cause without the path.
    """
    try:
        _check_regular(path)
        with Image.open(path) as image:
            _check_size(*image.size)
            picture = rgb_of(image)
            if image.format == "JPEG":
                _check_whole(path, image, picture)
            return picture
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # Pillow's readers raise exceptions of any type for damaged bytes.
        raise InputError(_cause(error, path)) from error


def _cause(error: Exception, path: Path) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).replace(f" {str(path)!r}", "")


def file_trouble(path: Path) -> str:
    """Why a file cannot be opened, in a few words; "" where it can."""
    try:
        _check_regular(path)
        path.open("rb").close()
    except (OSError, InputError) as error:
        return _cause(error, path)
    return ""


def _check_regular(path: Path) -> None:
    """Refuse a folder, and a pipe, on which reading would block."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError("a link to nothing") from None
        raise
    if not stat.S_ISREG(mode):
        raise InputError("a folder" if stat.S_ISDIR(mode) else "no regular file")


def _check_size(width: int, height: int) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and width * height > most:
        raise InputError(
            f"{width} × {height} pixels could be a decompression bomb: more than the {most} of Pillow's "
            "Image.MAX_IMAGE_PIXELS"
        )
    if max(width, height) > LONGEST_SIDE * min(width, height):
        raise InputError(f"{width} × {height} pixels: one side is more than {LONGEST_SIDE} times the other")


def rgb_of(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, as Pillow converts it; but 16 bits are scaled to 8, where Pillow clips them.

    Raises:
        InputError: the levels have no known range, and some lie outside that of 8 bits.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BIT_FORMATS):
        levels = np.asarray(image).astype(np.uint32)
        # 65535 / 255 is 257; halves cannot occur.
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        low, high = np.asarray(image).min(), np.asarray(image).max()
        if not (low >= 0 and high <= 255):
            raise InputError(f"its levels go from {low:g} to {high:g}, not from 0 to 255: save it with 8 or 16 bits")
    return image.convert("RGB")


def _check_whole(path: Path, image: Image.Image, picture: Image.Image) -> None:
    """Refuse a JPEG that lacks blocks but has an end mark: Pillow fills the missing blocks silently.

    Bytes added behind the last block change a picture only if blocks are missing. The filling is grey, so a picture
    whose last level is not grey is whole; progressive files, which come in several passes, are always checked.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    levels = {*last} if isinstance(last, tuple) else {last}
    if not levels <= FILLING and not image.info.get("progressive"):
        return
    content = path.read_bytes()
    end = content.rfind(END_OF_JPEG)
    with Image.open(BytesIO(content[:end] + BEHIND_LAST_BLOCK + END_OF_JPEG)) as other:
        if other.convert("RGB").tobytes() != picture.tobytes():
            raise InputError("a part of the picture is missing")


@contextmanager
def pillow_silent() -> Iterator[None]:
    """Silence Pillow's warnings: those that matter are errors here, which name the file.

    Only one thread may enter it at a time.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
