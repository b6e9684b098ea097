from __future__ import annotations

import logging
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
from tests.embeddings.encoder.conftest import CPU, Stub, encode_by_hand
from tests.helpers import write_image

# Of the demo model, by precision.
FOLDERS = {"fp32": "8bc19c37df998ec384df200a058540da", "bf16": "9d0880389f813a312ba29f4b9574dddf"}


def test_embeddings_are_the_models_own_in_the_order_asked_for(make, model, images):
    order = [images[place] for place in (3, 1, 7, 0, 9, 2)]
    embedding, report = make().encode_images([order[0], *map(str, order[1:])])
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


@pytest.mark.parametrize("seen", [True, False])
def test_a_damaged_shard_is_encoded_again(make, images, decoded, caplog, seen):
    """Also where size and mtime do not show the damage."""
    before, _ = make().encode_images(images)
    decoded.clear()
    (shard,) = make().store.folder.glob("*.safetensors")
    stat, content = shard.stat(), shard.read_bytes()
    shard.write_bytes(content[:-1] + (b"" if seen else bytes([content[-1] ^ 1])))
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with caplog.at_level(logging.WARNING):
        after, report = make().encode_images(images)
    assert str(shard) in caplog.text
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
    second = encoder.encode_texts(["an owl", "a dog"])
    assert asked == ["a cat", "a dog", "an owl"]
    assert torch.equal(second[1], first[1])


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "check its weights"), ("bf16", r"set VLM\.PRECISION fp32")])
def test_nan_of_a_text_names_it(make, model, precision, advice):
    encoder = make(precision)
    spoilt = torch.tensor([1.0, float("nan")])[:, None]
    encoder.model = Stub(model, texts=lambda texts: model.encode_texts(texts) * spoilt)
    with pytest.raises(InputError, match=rf"for the text 'a dog' in {precision}: {advice}"):
        encoder.encode_texts(["a cat", "a dog"])
    assert encoder.store.missing([text_key("a cat")])


def test_the_identity_names_the_model_with_its_width_and_scale(make, source):
    identity = make().identity()
    assert identity.model == source.model
    assert (identity.pretrained, identity.weights_sha256, identity.embedding_dim) == ("", "random", 32)
    assert identity.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert (identity.precision, identity.preprocess) == ("fp32", "{}")


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


def test_facts_that_a_model_file_lost_are_found_again(make):
    identity = make().identity()
    (path,) = make().store.folder.glob("model.json")
    path.write_text('{"embedding_dim": 32}')
    assert make().identity() == identity


def test_a_models_folder_in_the_cache_is_that_of_old_versions(tmp_path):
    """Or else everything would be encoded again; other weights of the demo model have other folders."""
    names = [Encoder(vlm.resolve("demo", ""), precision, CPU, tmp_path).store.folder.name for precision in FOLDERS]
    assert names == list(FOLDERS.values())


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
    encoder = make(num_workers=2)
    encoder.model = Stub(model, encode)
    embedding, report = encoder.encode_images(images)
    assert seen[-1] == 1 and sum(seen) == report.decoded == 10
    torch.testing.assert_close(embedding, encode_by_hand(model, images))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_batch_size_workers_and_order_do_not_change_a_bit(tmp_path, precision):
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


def test_a_full_gpu_halves_the_batch_and_goes_on(make, model, images, caplog):
    sizes = []

    def encode(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(pixels))
        return model.encode_images(pixels)

    with caplog.at_level(logging.WARNING):
        encoder = make(batch_size=4)
        encoder.model = Stub(model, encode)
        embedding, report = encoder.encode_images(images)
    assert "out of GPU memory with 4 images in a call: going on with 2" in caplog.text
    assert sizes == [2] * 5 and report.decoded == 10
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
