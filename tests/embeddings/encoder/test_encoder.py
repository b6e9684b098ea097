from __future__ import annotations

import logging
import math
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.embeddings.cache.hashes import text_key
from lare_dassl.embeddings.encoder import encoder as encoding
from lare_dassl.embeddings.encoder import shard_keeper
from lare_dassl.embeddings.encoder.decoding import decode_image
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.errors import InputError
from tests.helpers import write_image, write_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny CLIP with random weights."""
    return vlm.resolve(write_tiny_model(tmp_path_factory.mktemp("models") / "clip"), "", allow_random=True)


@pytest.fixture(scope="module")
def model(source):
    return vlm.load(source, "fp32", CPU)


@pytest.fixture(autouse=True)
def _quick_load(model, monkeypatch):
    """Loading gives the one model that is loaded already, in whatever precision."""
    monkeypatch.setattr(vlm, "load", lambda *_: model)


@pytest.fixture
def images(tmp_path):
    return [write_image(tmp_path / "images" / f"{number}.png", seed=number) for number in range(10)]


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images decoded, in order; counts those of this process alone."""
    names = []

    def recorded(path, preprocess):
        names.append(path.name)
        return decode_image(path, preprocess)

    monkeypatch.setattr(encoding, "decode_image", recorded)
    return names


@pytest.fixture
def make(source, tmp_path):
    def encoder(precision="fp32", batch_size=4, **settings):
        return Encoder(source, precision, CPU, tmp_path / "cache", batch_size=batch_size, **settings)

    (tmp_path / "cache").mkdir()
    return encoder


def encode_by_hand(model, paths):
    return torch.cat([model.encode_images(decode_image(path, model.preprocess)[None]) for path in paths])


def test_embeddings_are_the_models_own_in_the_order_asked_for(make, model, images):
    order = [images[place] for place in (3, 1, 7, 0, 9, 2)]
    embedding, report = make().encode_images(order)
    torch.testing.assert_close(embedding, encode_by_hand(model, order))
    assert embedding.dtype == torch.float32
    assert (report.images, report.decoded) == (6, 6)


def test_a_second_run_decodes_and_loads_nothing(make, images, decoded, monkeypatch):
    first, _ = make().encode_images(images)
    texts = make().encode_texts(["a cat", "a dog"])
    identity = make().identity()
    decoded.clear()
    monkeypatch.setattr(vlm, "load", lambda *_: pytest.fail("the model was loaded again"))
    second, report = make().encode_images(images)
    assert decoded == []
    assert (report.images, report.decoded) == (10, 0)
    assert torch.equal(first, second)
    assert torch.equal(make().encode_texts(["a cat", "a dog"]), texts)
    assert make().identity() == identity


def test_only_what_is_new_is_encoded(make, images, decoded):
    make().encode_images(images[:6])
    decoded.clear()
    _, report = make().encode_images(images)
    assert decoded == [path.name for path in images[6:]]
    assert report.decoded == 4


def test_an_image_that_moved_is_known_and_one_that_changed_is_not(make, images, decoded, tmp_path):
    before, _ = make().encode_images(images)
    decoded.clear()
    moved = images[0].rename(tmp_path / "elsewhere.png")
    write_image(images[1], seed=77)
    after, report = make().encode_images([moved, *images[1:]])
    assert decoded == ["1.png"]
    assert report.decoded == 1
    assert torch.equal(after[[0, *range(2, 10)]], before[[0, *range(2, 10)]])
    assert (after[1] - before[1]).abs().max() > 1e-4


def test_the_same_content_under_two_names_is_encoded_once(make, images, decoded, tmp_path):
    copy = tmp_path / "copy.png"
    shutil.copy(images[0], copy)
    embedding, report = make().encode_images([images[0], images[1], copy, images[1]])
    assert len(decoded) == 2
    assert (report.images, report.decoded) == (4, 2)
    assert torch.equal(embedding[0], embedding[2])
    assert torch.equal(embedding[1], embedding[3])


class KilledError(Exception):
    """Stands for a kill."""


def test_a_killed_extraction_goes_on_where_it_was(make, model, images, decoded, monkeypatch):
    monkeypatch.setattr(shard_keeper, "SHARD_ROWS", 4)
    encoder, calls = make(batch_size=2), []
    encode = encoder.model.encode_images

    class DyingModel:
        parts = model.parts

        def encode_images(self, pixels):
            calls.append(len(pixels))
            if len(calls) == 4:
                raise KilledError
            return encode(pixels)

    encoder.model = DyingModel()
    with pytest.raises(KilledError):
        encoder.encode_images(images)
    decoded.clear()
    embedding, report = make(batch_size=2).encode_images(images)
    # Two batches of two filled a shard; the third was kept on the way out.
    assert decoded == [path.name for path in images[6:]]
    assert report.decoded == 4
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


def test_images_are_kept_in_shards(make, images, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_keeper, "SHARD_ROWS", 4)
    make(batch_size=2).encode_images(images)
    assert len(list((tmp_path / "cache").glob("*/*.safetensors"))) == 3


def test_a_damaged_shard_is_encoded_again(make, images, tmp_path, decoded, caplog):
    before, _ = make().encode_images(images)
    decoded.clear()
    (shard,) = (tmp_path / "cache").glob("*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        after, report = make().encode_images(images)
    assert str(shard) in caplog.text
    assert len(decoded) == report.decoded == 10
    assert torch.equal(before, after)


def spoil(images):
    images[1].write_bytes(b"no image")
    images[4].write_bytes(images[4].read_bytes()[:200])
    images[7].unlink()


def test_unreadable_images_are_all_named_and_the_others_kept(make, images, decoded):
    spoil(images)
    with pytest.raises(InputError) as error:
        make().encode_images(images)
    message = str(error.value)
    assert message.startswith("3 of 10 images cannot be read: ")
    assert f"{images[1]} (cannot identify image file)" in message
    assert f"{images[4]} (" in message
    assert f"{images[7]} (No such file" in message
    assert "\n" not in message

    decoded.clear()
    good = [path for place, path in enumerate(images) if place not in (1, 4, 7)]
    assert make().encode_images(good)[1].decoded == 0
    for place in (1, 4, 7):
        write_image(images[place], seed=100 + place)
    assert make().encode_images(images)[1].decoded == 3
    assert decoded == ["1.png", "4.png", "7.png"]


def test_every_name_of_an_unreadable_content_is_counted(make, images):
    for path in images[2:9]:
        path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        make().encode_images(images)
    message = str(error.value)
    assert message.startswith("7 of 10 images cannot be read: ")
    assert all(str(path) in message for path in images[2:7])
    assert "; and 2 more" in message


def test_workers_give_the_same(make, model, images):
    spoil(images)
    with pytest.raises(InputError) as alone:
        make().encode_images(images)
    shutil.rmtree(images[0].parents[1] / "cache")
    (images[0].parents[1] / "cache").mkdir()
    with pytest.raises(InputError) as shared:
        make(num_workers=2).encode_images(images)
    assert str(shared.value) == str(alone.value)
    good = [path for place, path in enumerate(images) if place not in (1, 4, 7)]
    embedding, report = make().encode_images(good)
    assert report.decoded == 0
    torch.testing.assert_close(embedding, encode_by_hand(model, good))


def test_encoding_leaves_the_global_random_state(make, images):
    before = torch.get_rng_state()
    make().encode_images(images)
    make().encode_texts(["a cat"])
    assert torch.equal(torch.get_rng_state(), before)


def test_texts_are_encoded_once(make, model):
    encoder, asked = make(), []

    class CountingModel:
        def encode_texts(self, texts):
            asked.extend(texts)
            return model.encode_texts(texts)

    encoder.model = CountingModel()
    first = encoder.encode_texts(["a cat", "a dog", "a cat"])
    assert torch.equal(first, model.encode_texts(["a cat", "a dog", "a cat"]))
    second = encoder.encode_texts(["an owl", "a dog"])
    assert asked == ["a cat", "a dog", "an owl"]
    assert torch.equal(second[1], first[1])


def test_the_identity_names_the_model_with_its_width_and_scale(make, source):
    identity = make().identity()
    assert identity.model == source.model
    assert (identity.pretrained, identity.weights_sha256, identity.embedding_dim) == ("", "random", 32)
    assert identity.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert (identity.precision, identity.preprocess) == ("fp32", "{}")


@pytest.fixture
def guard(monkeypatch):
    """bf16 is native here; `agrees` says what the guard finds, `batches` what it was asked."""

    class Guard:
        agrees = True

        def __init__(self):
            self.batches = []

        def __call__(self, low, source, pixels):
            self.batches.append(tuple(pixels.shape))
            return self.agrees

    guard = Guard()
    monkeypatch.setattr(vlm, "resolve_precision", lambda asked, _: "bf16" if asked == "auto" else asked)
    monkeypatch.setattr(vlm, "low_precision_agrees", guard)
    return guard


def test_auto_takes_bf16_where_it_agrees_and_asks_once(make, images, guard):
    encoder = make("auto")
    encoder.encode_images(images[:6])
    assert encoder.precision == "bf16"
    make("auto").encode_images(images)
    assert guard.batches == [(4, 32, 32, 3)]


def test_auto_falls_back_to_fp32_where_bf16_does_not_agree(make, images, guard, decoded, caplog):
    guard.agrees = False
    encoder = make("auto")
    with caplog.at_level(logging.WARNING):
        first, report = encoder.encode_images(images)
    assert encoder.precision == "fp32"
    assert "encoding in fp32" in caplog.text
    assert report.decoded == 10

    decoded.clear()
    second = make("auto")
    assert second.precision == "fp32"
    assert torch.equal(second.encode_images(images)[0], first)
    assert torch.equal(make("fp32").encode_images(images)[0], first)
    assert decoded == []
    assert len(guard.batches) == 1


def test_a_precision_that_was_named_is_taken_unasked(make, images, guard):
    guard.agrees = False
    encoder = make("bf16")
    encoder.encode_images(images)
    assert encoder.precision == "bf16"
    assert guard.batches == []


def test_the_guard_looks_past_unreadable_images(make, images, guard):
    for path in images[:5]:
        path.write_bytes(path.name.encode())
    with pytest.raises(InputError, match="5 of 10"):
        make("auto").encode_images(images)
    assert guard.batches == [(3, 32, 32, 3)]


def test_precisions_do_not_share_embeddings(make, images):
    make("fp32").encode_images(images)
    assert make("bf16").encode_images(images)[1].decoded == 10


def test_weights_are_known_by_their_content(source, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(source.open_clip_name.removeprefix("local-dir:"), folder)
    (folder / "weights.safetensors").write_bytes(b"first")
    found = vlm.resolve(f"local-dir:{folder}", "")
    first = Encoder(found, "fp32", CPU, tmp_path)
    (folder / "weights.safetensors").write_bytes(b"second")
    second = Encoder(found, "fp32", CPU, tmp_path)
    assert first.weights_sha256 != second.weights_sha256
    assert first.store.folder != second.store.folder


def test_a_cache_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"EMBEDDINGS\.CACHE_DIR"):
        Encoder(source, "fp32", CPU, tmp_path / "file" / "cache")


@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGBA"), ("a.png", "L"), ("a.gif", "P"), ("a.jpg", "CMYK")])
def test_images_of_any_mode_are_read_as_rgb(tmp_path, name, mode):
    Image.new(mode, (5, 4)).save(tmp_path / name)
    assert decode_image(tmp_path / name, lambda image: (image.mode, image.size)) == ("RGB", (5, 4))


def test_an_image_of_too_many_pixels_is_refused_with_its_cause(tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match="decompression bomb"):
        decode_image(write_image(tmp_path / "big.png", seed=0), lambda image: math.nan)


def test_facts_that_a_model_file_lost_are_found_again(make):
    identity = make().identity()
    (path,) = make().store.folder.glob("model.json")
    path.write_text('{"embedding_dim": 32}')
    assert make().identity() == identity


def test_auto_asks_though_an_explicit_bf16_run_has_filled_the_cache(make, images, guard):
    make("bf16").encode_images(images)
    guard.agrees = False
    encoder = make("auto")
    encoder.encode_images(images)
    assert len(guard.batches) == 1
    assert encoder.precision == "fp32"


def make_encode(encoder, model, encode):
    """Put an encoder of images in the place of the model's."""

    class Stub:
        parts = model.parts
        encode_texts = staticmethod(model.encode_texts)
        encode_images = staticmethod(encode)

    encoder.model = Stub()
    return encoder


def test_the_encoder_gets_all_other_images_while_one_is_slow(make, model, images, monkeypatch):
    others_encoded = threading.Event()
    seen = []

    def decode_slowly(path, preprocess):
        if path == images[1]:
            others_encoded.wait()
        return decode_image(path, preprocess)

    def encode(pixels):
        seen.append(len(pixels))
        if sum(seen) == 9:
            others_encoded.set()
        return model.encode_images(pixels)

    monkeypatch.setattr(encoding, "decode_image", decode_slowly)
    embedding, report = make_encode(make(num_workers=2), model, encode).encode_images(images)
    assert seen[-1] == 1 and sum(seen) == report.decoded == 10
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_embedding_is_the_same_to_the_bit_for_any_batch_size_workers_or_order(tmp_path, precision, monkeypatch):
    monkeypatch.undo()
    source = vlm.resolve("demo", "")
    images = [write_image(tmp_path / f"{number}.png", seed=number) for number in range(19)]
    order = torch.randperm(19, generator=torch.Generator().manual_seed(3)).tolist()
    reference = None
    for place, (batch_size, workers, chosen) in enumerate([(64, 0, range(19)), (16, 3, order), (5, 2, order)]):
        folder = tmp_path / f"cache{place}"
        folder.mkdir()
        encoder = Encoder(source, precision, CPU, folder, batch_size=batch_size, num_workers=workers)
        encoder.encode_images([images[number] for number in chosen])
        embedding, report = encoder.encode_images(images)
        assert report.decoded == 0
        reference = embedding if reference is None else reference
        assert torch.equal(embedding, reference)


def spoiling(model, spoilt, value=float("nan")):
    """The model's encoder, but for the images whose pixels are `spoilt`."""

    def encode(pixels):
        embedding = model.encode_images(pixels).clone()
        embedding[(pixels == spoilt).flatten(1).all(dim=1)] = value
        return embedding

    return encode


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("given", [("auto", "nan"), ("bf16", "inf"), ("fp16", "nan")])
def test_nan_in_a_late_batch_of_low_precision_sends_all_images_to_fp32(make, model, images, caplog, given):
    precision, value = given[0], float(given[1])
    spoilt = decode_image(images[9], model.parts.resize)
    encoder = make_encode(make(precision), model, spoiling(model, spoilt, value))
    low = encoder.store.folder
    with caplog.at_level(logging.WARNING):
        embedding, report = encoder.encode_images(images)
    name = {"auto": "bf16"}.get(precision, precision)
    assert caplog.messages == [f"{name} gives NaN or infinity for {images[9]}: encoding all images in fp32"]
    assert encoder.precision == encoder.identity().precision == "fp32"
    assert encoder.store.folder != low
    assert report.decoded == 10
    assert torch.equal(embedding, make("fp32").encode_images(images)[0])


def test_a_later_run_begins_in_fp32_where_low_precision_gave_nan_before(make, model, images, caplog):
    make_encode(make("bf16"), model, spoiling(model, decode_image(images[0], model.parts.resize))).encode_images(images)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        again = make("bf16")
    assert caplog.messages == ["bf16 has given NaN or infinity before: encoding in fp32"]
    assert again.encode_images(images)[1].decoded == 0


def test_nan_in_fp32_names_the_image_and_keeps_those_before(make, model, images, decoded):
    spoilt = decode_image(images[6], model.parts.resize)
    encoder = make_encode(make(), model, spoiling(model, spoilt))
    with pytest.raises(InputError, match=rf"gives NaN or infinity for {images[6]} in fp32: check its weights"):
        encoder.encode_images(images)
    decoded.clear()
    assert make().encode_images(images)[1].decoded == 6


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "check its weights"), ("bf16", r"set VLM\.PRECISION fp32")])
def test_nan_of_a_text_names_it(make, model, precision, advice):
    encoder = make(precision)

    class Stub:
        def encode_texts(self, texts):
            embedding = model.encode_texts(texts).clone()
            embedding[1] = float("nan")
            return embedding

    encoder.model = Stub()
    with pytest.raises(InputError, match=rf"for the text 'a dog' in {precision}: {advice}"):
        encoder.encode_texts(["a cat", "a dog"])
    assert encoder.store.missing([text_key("a cat")])


def test_a_full_gpu_halves_the_batch_and_goes_on(make, model, images, caplog):
    sizes = []

    def encode(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(pixels))
        return model.encode_images(pixels)

    with caplog.at_level(logging.WARNING):
        embedding, report = make_encode(make(batch_size=4), model, encode).encode_images(images)
    assert "out of GPU memory with 4 images in a call: going on with 2" in caplog.text
    assert sizes == [2] * 5 and report.decoded == 10
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


def test_several_calls_side_by_side_give_the_same(make, model, images):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        embedding, report = make(batch_size=24, num_workers=2).encode_images(images)
    finally:
        torch.set_num_threads(before)
    assert report.decoded == 10
    assert torch.equal(embedding, encode_by_hand(model, images))


def test_images_may_be_named_by_strings(make, images):
    named = make().encode_images([str(path) for path in images])[0]
    assert torch.equal(make().encode_images(images)[0], named)


def test_no_images_have_no_embeddings(make):
    embedding, report = make().encode_images([])
    assert len(embedding) == 0 and report.images == 0


def test_damage_that_size_and_mtime_do_not_show_is_encoded_again(make, images, tmp_path, decoded):
    before, _ = make().encode_images(images)
    (shard,) = (tmp_path / "cache").glob("*/*.safetensors")
    stat = shard.stat()
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    decoded.clear()
    after, report = make().encode_images(images)
    assert len(decoded) == report.decoded == 10
    assert torch.equal(before, after)


def odd_images(folder):
    """Images of every mode and of odd sizes, as files."""
    noise = np.random.default_rng(0).integers(0, 256, size=(61, 97, 4), dtype=np.uint8)
    whole = Image.fromarray(noise)
    made = {f"{mode}.png": whole.convert(mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")}
    made |= {f"{mode}.jpg": whole.convert(mode) for mode in ("RGB", "L", "CMYK")}
    made |= {"thin.png": whole.crop((0, 0, 1, 61)), "flat.jpg": whole.crop((0, 0, 97, 2)).convert("RGB")}
    made |= {"huge.jpg": whole.resize((1500, 900)).convert("RGB")}
    made |= {"YCbCr.tif": whole.convert("YCbCr"), "F.tif": whole.convert("F"), "anim.gif": whole.convert("P")}
    folder.mkdir()
    for name, image in made.items():
        image.save(folder / name)
    turned = whole.convert("RGB")
    turned.getexif()[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=turned.getexif())
    return sorted(folder.iterdir())


def test_what_reaches_the_encoder_is_open_clips_own_preprocessing_to_the_bit(make, model, tmp_path):
    real = sorted((Path(__file__).parents[3].parent / "shared/data/pacs-slice").rglob("*.jpg"))[::10]
    paths, reached = odd_images(tmp_path / "odd") + real, []

    def encode(pixels):
        reached.extend(model.parts.scale(pixels))
        return model.encode_images(pixels)

    make_encode(make(num_workers=1), model, encode).encode_images(paths)
    transform = vlm.open_clip.image_transform(32, is_train=False)
    assert len(reached) == len(paths)
    for path, pixels in zip(paths, reached, strict=True):
        assert torch.equal(pixels, transform(Image.open(path).convert("RGB"))), path


@pytest.mark.parametrize("losses", [1, 4, 5])
def test_what_another_process_removes_meanwhile_is_encoded_again(make, model, images, monkeypatch, losses):
    encoder = make()
    gather, asked = encoder.store.gather, []

    def robbed(keys):
        asked.append(len(keys))
        if len(asked) <= losses:
            next(encoder.store.folder.glob("*.safetensors")).unlink()
        return gather(keys)

    monkeypatch.setattr(encoder.store, "gather", robbed)
    if losses == 5:
        with pytest.raises(InputError, match="run again"):
            encoder.encode_images(images)
        return
    embedding, _ = encoder.encode_images(images)
    assert torch.equal(embedding, encode_by_hand(model, images))
    assert len(asked) == losses + 1
    asked.clear()
    texts = encoder.encode_texts(["a cat", "an owl"])
    assert len(asked) == losses + 1
    monkeypatch.undo()
    assert torch.equal(encoder.encode_texts(["a cat", "an owl"]), texts)
