from __future__ import annotations

import logging
import math
import shutil

import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.embeddings import extract
from lare_dassl.embeddings.extract import Encoder, decode_image
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

    monkeypatch.setattr(extract, "decode_image", recorded)
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
    monkeypatch.setattr(extract, "SHARD_ROWS", 4)
    encoder, calls = make(batch_size=2), []
    encode = encoder.model.encode_images

    class DyingModel:
        preprocess = model.preprocess

        def encode_images(self, pixels):
            calls.append(len(pixels))
            if len(calls) == 4:
                raise KilledError
            return encode(pixels)

    encoder._model = DyingModel()
    with pytest.raises(KilledError):
        encoder.encode_images(images)
    decoded.clear()
    embedding, report = make(batch_size=2).encode_images(images)
    # Two batches of two filled a shard; the third was kept on the way out.
    assert decoded == [path.name for path in images[6:]]
    assert report.decoded == 4
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


def test_images_are_kept_in_shards(make, images, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SHARD_ROWS", 4)
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
    assert f"{images[7]} (no such file" in message
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

    encoder._model = CountingModel()
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
    monkeypatch.setattr(vlm, "_native_bf16", lambda _: True)
    monkeypatch.setattr(vlm, "low_precision_agrees", guard)
    return guard


def test_auto_takes_bf16_where_it_agrees_and_asks_once(make, images, guard):
    encoder = make("auto")
    encoder.encode_images(images[:6])
    assert encoder.precision == "bf16"
    make("auto").encode_images(images)
    assert guard.batches == [(4, 3, 32, 32)]


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
    assert guard.batches == [(3, 3, 32, 32)]


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
