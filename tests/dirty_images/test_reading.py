"""Every odd picture reaches the model as open_clip would have it, and what is no whole picture never does."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from lare_dassl import vlm
from lare_dassl.embeddings.encoder.decoding import decode_image, decoded_batches
from lare_dassl.embeddings.encoder.image_files import file_trouble, read_rgb, rgb_of
from lare_dassl.errors import InputError
from tests.dirty_images.making import (
    HEIGHT,
    UNREADABLE,
    WIDTH,
    cmyk_jpeg,
    cut_jpeg,
    encoded,
    jpeg,
    noise,
    sixteen_bit_png,
)

OPEN_CLIPS = vlm.open_clip.image_transform(32, is_train=False)


def cause_of(path):
    with pytest.raises(InputError) as error:
        read_rgb(path)
    return str(error.value)


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("make", "cause"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_refused_with_its_cause_and_never_waited_for(tmp_path, make, cause):
    path = tmp_path / "x.jpg"
    make(path)
    causes = []
    reader = threading.Thread(target=lambda: causes.append(cause_of(path)), daemon=True)
    reader.start()
    reader.join(20)
    (found,) = causes
    assert cause in found
    assert found and "\n" not in found and str(path) not in found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_says_so(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(jpeg())
    path.chmod(0)
    assert cause_of(path) == file_trouble(path) == "Permission denied"


def test_a_truncated_jpeg_is_refused_though_another_library_has_told_pillow_to_take_it(tmp_path, monkeypatch):
    (tmp_path / "x.jpg").write_bytes(cut_jpeg(0.6))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert cause_of(tmp_path / "x.jpg") == "a part of the picture is missing"


def odd_pictures():
    whole = Image.fromarray(noise(channels=4))
    rgb = whole.convert("RGB")
    turned = rgb.getexif()
    turned[0x0112] = 6
    frames = [Image.fromarray(noise(seed)).convert("P") for seed in range(3)]
    palette = rgb.quantize(16)
    return {
        "JPEG": jpeg(),
        "a JPEG that is wholly grey": encoded(Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128)), "JPEG"),
        "a JPEG with a grey corner and restart markers": encoded(grey_corner(rgb), "JPEG", restart_marker_blocks=2),
        "a progressive JPEG with a grey corner": encoded(grey_corner(rgb), "JPEG", progressive=True),
        "a grey JPEG with a grey corner": encoded(grey_corner(rgb).convert("L"), "JPEG"),
        "a JPEG with bytes behind its end": encoded(grey_corner(rgb), "JPEG") + b"behind\xff\xd9",
        "CMYK": cmyk_jpeg(),
        "PNG": encoded(rgb, "PNG"),
        "palette": encoded(palette, "PNG"),
        "palette with transparency": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "grey": encoded(whole.convert("L"), "PNG"),
        "grey with alpha": encoded(whole.convert("LA"), "PNG"),
        "alpha": encoded(whole, "PNG"),
        "black and white": encoded(whole.convert("1"), "PNG"),
        "EXIF says turned": encoded(rgb, "JPEG", exif=turned),
        "animated": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "one pixel": encoded(Image.new("RGB", (1, 1), (10, 200, 30)), "PNG"),
        "thin": encoded(rgb.resize((1, 900)), "PNG"),
        "floats of 8 bits": encoded(whole.convert("F"), "TIFF"),
    }


def grey_corner(image):
    image = image.copy()
    image.paste((128, 128, 128), (WIDTH - 32, HEIGHT - 32, WIDTH, HEIGHT))
    return image


ODD = odd_pictures()


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", ["x.jpg", "x.PNG"])
def test_an_odd_picture_is_preprocessed_as_open_clip_would(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert torch.equal(decode_image(path, OPEN_CLIPS), OPEN_CLIPS(Image.open(path).convert("RGB")))
    # open_clip converts to RGB itself where it is not done before: of what has a channel for each colour, later.
    if Image.open(path).mode == "RGB":
        assert torch.equal(decode_image(path, OPEN_CLIPS), OPEN_CLIPS(Image.open(path)))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "memory"])
def test_sixteen_bits_are_scaled_to_eight_where_pillow_clips_to_white(tmp_path, form):
    levels = np.random.default_rng(0).integers(0, 65536, size=(HEIGHT, WIDTH), dtype=np.uint16)
    levels[0, :4] = 0, 300, 65535, 128
    picture, path = Image.fromarray(levels), tmp_path / f"x.{form.lower()}"
    if form == "memory":
        found = rgb_of(picture)
    else:
        path.write_bytes(encoded(picture, form))
        found = read_rgb(path)
        assert (np.asarray(Image.open(path).convert("RGB")) == 255).mean() > 0.9
    expected = np.rint(levels / 257).astype(np.uint8)
    assert np.array_equal(np.asarray(found), np.stack([expected] * 3, axis=-1))


def test_of_sixteen_bits_of_a_colour_the_higher_eight_count(tmp_path):
    levels = np.random.default_rng(0).integers(0, 65536, size=(HEIGHT, WIDTH, 3), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(sixteen_bit_png(levels))
    assert np.array_equal(np.asarray(read_rgb(tmp_path / "x.png")), levels >> 8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_bytes_are_a_picture_or_an_input_error_and_nothing_else(tmp_path, form):
    content, rng = encoded(Image.fromarray(noise()), form), np.random.default_rng(0)
    outcomes = []
    for number in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content) if number % 2 else 200, size=5):
            damaged[place] = rng.integers(256)
        (tmp_path / "x.jpg").write_bytes(damaged[: rng.integers(1, 2 * len(damaged))])
        try:
            outcomes.append(read_rgb(tmp_path / "x.jpg").mode)
        except InputError as error:
            outcomes.append(str(error))
    assert "" not in outcomes and len({*outcomes} - {"RGB"}) > 1


def test_pillows_warnings_are_no_lines_of_ours(tmp_path, recwarn):
    warnings.simplefilter("always")
    paths = [tmp_path / "bomb.png", tmp_path / "palette.png"]
    UNREADABLE["a bomb that Pillow warns of"][0](paths[0])
    paths[1].write_bytes(ODD["palette with transparency"])
    batches = list(decoded_batches(lambda place: decode_image(paths[place], OPEN_CLIPS), [0, 1], 2, threads=2, ahead=2))
    assert [(batch.places, [place for place, _ in batch.unreadable]) for batch in batches] == [([1], [0])]
    assert recwarn.list == []
