from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.embeddings.cache.hashes import text_key
from lare_dassl.embeddings.encoder import shard_keeper
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.errors import InputError
from tests.embeddings.encoder.conftest import CPU, SmallDevice, Stub, encode_by_hand
from tests.helpers import damage_unseen, write_image

# Of the demo model, by precision.
FOLDERS = {"fp32": "8bc19c37df998ec384df200a058540da", "bf16": "9d0880389f813a312ba29f4b9574dddf"}


def test_embeddings_are_the_models_own_in_the_order_asked_for(make, model, images, decoded, tmp_path):
    """Each content is encoded once, whatever the names and types of its paths."""
    copy = shutil.copy(images[3], tmp_path / "copy.png")
    order = [images[3], images[1], copy, str(images[7]), images[1]]
    embedding, report = make().encode_images(order)
    torch.testing.assert_close(embedding, encode_by_hand(model, map(Path, order)))
    assert embedding.dtype == torch.float32
    assert decoded == ["3.png", "1.png", "7.png"]
    assert (report.images, report.decoded) == (5, 3)


def test_a_later_run_encodes_only_what_is_new(make, images, decoded, monkeypatch):
    first, _ = make().encode_images(images[:6])
    texts = make().encode_texts(["a cat", "a dog"])
    decoded.clear()
    second, report = make().encode_images(images)
    assert decoded == [path.name for path in images[6:]] and report.decoded == 4
    assert torch.equal(second[:6], first)
    monkeypatch.setattr(vlm, "load", lambda *_: pytest.fail("the model was loaded again"))
    third, report = make().encode_images(images)
    assert (report.images, report.decoded) == (10, 0)
    assert torch.equal(third, second)
    assert torch.equal(make().encode_texts(["a cat", "a dog"]), texts)


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


def test_a_killed_extraction_goes_on_where_it_was(make, model, images, decoded, monkeypatch):
    monkeypatch.setattr(shard_keeper, "SHARD_ROWS", 4)
    encoder, calls = make(batch_size=2), []

    def dying(pixels):
        calls.append(len(pixels))
        if len(calls) == 4:
            raise SystemExit
        return model.encode_images(pixels)

    encoder.model = Stub(model, dying)
    with pytest.raises(SystemExit):
        encoder.encode_images(images)
    # Two batches of two filled a shard; the third was kept on the way out.
    assert len(list(encoder.store.folder.glob("*.safetensors"))) == 2
    decoded.clear()
    embedding, report = make(batch_size=2).encode_images(images)
    assert decoded == [path.name for path in images[6:]]
    assert report.decoded == 4
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


def test_a_damaged_shard_is_encoded_again(make, images, decoded):
    before, _ = make().encode_images(images)
    decoded.clear()
    (shard,) = make().store.folder.glob("*.safetensors")
    damage_unseen(shard)
    after, report = make().encode_images(images)
    assert len(decoded) == report.decoded == 10
    assert torch.equal(before, after)


def test_encoding_leaves_the_global_random_state(make, images):
    before = torch.get_rng_state()
    make().encode_images(images)
    make().encode_texts(["a cat"])
    assert torch.equal(torch.get_rng_state(), before)


def test_texts_are_encoded_once(make, model):
    encoder, asked = make(), []
    encoder.model = Stub(model, texts=lambda texts: asked.extend(texts) or model.encode_texts(texts))
    first = encoder.encode_texts(["a cat", "a dog", "a cat"])
    assert torch.equal(first, model.encode_texts(["a cat", "a dog", "a cat"]))
    assert torch.equal(encoder.encode_texts(["an owl", "a dog"])[1], first[1])
    assert asked == ["a cat", "a dog", "an owl"]


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "check its weights"), ("bf16", r"set VLM\.PRECISION fp32")])
def test_nan_of_a_text_names_it(make, model, precision, advice):
    encoder = make(precision)
    spoilt = torch.tensor([1.0, float("nan")])[:, None]
    encoder.model = Stub(model, texts=lambda texts: model.encode_texts(texts) * spoilt)
    with pytest.raises(InputError, match=rf"for the text 'a dog' in {precision}: {advice}"):
        encoder.encode_texts(["a cat", "a dog"])
    assert encoder.store.missing([text_key("a cat")])


def test_the_identity_names_the_model_with_its_width_and_scale(make, source, monkeypatch):
    identity = make().identity()
    assert identity.model == source.model
    assert (identity.pretrained, identity.weights_sha256, identity.embedding_dim) == ("", "random", 32)
    assert identity.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert (identity.precision, identity.preprocess) == ("fp32", "{}")
    # Facts that a model's file has lost are found again, and those that it has need no model.
    (make().store.folder / "model.json").write_text('{"embedding_dim": 32}')
    assert make().identity() == identity
    monkeypatch.setattr(vlm, "load", lambda *_: pytest.fail("the model was loaded again"))
    assert make().identity() == identity


def test_weights_are_known_by_their_content(source, tmp_path):
    shutil.copytree(source.open_clip_name.removeprefix("local-dir:"), tmp_path / "model")
    folders = set()
    for content in (b"first", b"second"):
        (tmp_path / "model" / "weights.safetensors").write_bytes(content)
        encoder = Encoder(vlm.resolve(f"local-dir:{tmp_path}/model", ""), "fp32", CPU, tmp_path)
        assert encoder.weights_sha256 == hashlib.sha256(content).hexdigest()
        folders.add(encoder.store.folder)
    assert len(folders) == 2


def test_a_models_folder_in_the_cache_is_that_of_old_versions(tmp_path):
    """Or else everything would be encoded again; other weights of the demo model have other folders."""
    names = [Encoder(vlm.resolve("demo", ""), precision, CPU, tmp_path).store.folder.name for precision in FOLDERS]
    assert names == list(FOLDERS.values())


def test_a_full_gpu_halves_the_batch_and_goes_on(make, model, images):
    device, encoder = SmallDevice(2, model.encode_images), make(batch_size=4)
    encoder.model = Stub(model, device)
    embedding, report = encoder.encode_images(images)
    assert device.calls == [2] * 5 and report.decoded == 10
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


def test_no_images_have_no_embeddings(make):
    embedding, report = make().encode_images([])
    assert len(embedding) == 0 and report.images == 0


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


def test_the_encoder_gets_open_clips_preprocessing_to_the_bit(make, model, tmp_path):
    real = sorted((Path(__file__).parents[3].parent / "shared/data/pacs-slice").rglob("*.jpg"))[::10]
    paths, reached = odd_images(tmp_path / "odd") + real, []

    def encode(pixels):
        reached.extend(model.parts.scale(pixels))
        return model.encode_images(pixels)

    encoder = make(num_workers=1)
    encoder.model = Stub(model, encode)
    encoder.encode_images(paths)
    transform = vlm.open_clip.image_transform(32, is_train=False)
    assert len(reached) == len(paths)
    for path, pixels in zip(paths, reached, strict=True):
        assert torch.equal(pixels, transform(Image.open(path).convert("RGB"))), path


@pytest.mark.parametrize("losses", [1, 4, 5])
def test_what_another_process_removes_meanwhile_is_encoded_again(make, model, images, monkeypatch, losses):
    encoder, asked = make(), []
    gather = encoder.store.gather

    def robbed(keys):
        asked.append(len(keys))
        if len(asked) <= losses:
            next(encoder.store.folder.glob("*.safetensors")).unlink()
        return gather(keys)

    monkeypatch.setattr(encoder.store, "gather", robbed)
    for encode, wanted, by_hand in (
        (lambda images: encoder.encode_images(images)[0], images, encode_by_hand(model, images)),
        (encoder.encode_texts, ["a cat", "an owl"], model.encode_texts(["a cat", "an owl"])),
    ):
        asked.clear()
        if losses == 5:
            with pytest.raises(InputError, match="run again"):
                encode(wanted)
        else:
            assert torch.equal(encode(wanted), by_hand)
            assert len(asked) == losses + 1
