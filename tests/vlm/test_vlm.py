from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.system import network
from lare_dassl.vlm import open_clip
from tests.helpers import write_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def clip(folder):
    return vlm.resolve(write_tiny_model(folder / "clip"), "", allow_random=True)


@pytest.fixture(scope="module")
def coca(folder):
    return vlm.resolve(write_tiny_model(folder / "coca", coca=True), "", allow_random=True)


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def picture(width=50, height=37):
    pixels = np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def error_of(*arguments, **keywords):
    with pytest.raises(InputError) as error:
        vlm.resolve(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


# Resolving: which model, which weights.


def test_no_model_is_told():
    assert "MODEL.BACKBONE.NAME" in error_of("", "")


def test_an_unknown_model_is_told_with_the_nearest():
    message = error_of("coca_ViT-L-41", "laion2b_s13b_b90k")
    assert message.startswith("unknown model (MODEL.BACKBONE.NAME) 'coca_ViT-L-41': did you mean 'coca_ViT-L-14'?")


def test_an_unknown_tag_is_told_with_the_nearest():
    message = error_of("coca_ViT-L-14", "laion2b_s13b_b90")
    assert "'laion2b_s13b_b90'" in message
    assert "did you mean 'laion2b_s13b_b90k'?" in message


@pytest.mark.parametrize("path", ["weights/none.safetensors", "none.pt", "/weights/none"])
def test_a_missing_weights_file_is_told(path):
    assert error_of("ViT-B-32", path) == f"VLM.PRETRAINED: no weights file {path}"


def test_random_weights_are_refused_unless_asked_for():
    message = error_of("ViT-B-32", "")
    assert "VLM.PRETRAINED" in message and "openai" in message and "VLM.ALLOW_RANDOM True" in message
    source = vlm.resolve("ViT-B-32", "", allow_random=True)
    assert source.weights is None
    assert source.architecture["embed_dim"] == 512


def test_a_slash_in_a_models_name_is_a_hyphen_as_in_openais_names(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"")
    source = vlm.resolve("ViT-B/32", str(tmp_path / "weights.pt"))
    assert (source.model, source.open_clip_name) == ("ViT-B/32", "ViT-B-32")
    assert source.weights == tmp_path / "weights.pt"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", b"\xff\xff"])
def test_a_model_folder_needs_its_config(tmp_path, content):
    if content is not None:
        (tmp_path / "open_clip_config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    message = error_of(f"local-dir:{tmp_path}", "")
    assert f"{tmp_path}/open_clip_config.json is missing or holds no 'model_cfg'" in message


def test_a_model_folder_needs_weights_and_takes_no_other(tmp_path):
    name = write_tiny_model(tmp_path)
    assert error_of(name, "") == f"model {name}: no .safetensors weights in {tmp_path}"
    assert "leave VLM.PRETRAINED empty, not 'openai'" in error_of(name, "openai")


def test_openai_weights_in_a_model_of_another_activation_are_warned_of(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(vlm, "_cached_weights", lambda _: tmp_path / "weights")
    with caplog.at_level(logging.WARNING):
        vlm.resolve("ViT-B-32-quickgelu", "openai")
        assert caplog.text == ""
        vlm.resolve("ViT-B-32", "openai")
    assert "name the model ViT-B-32-quickgelu" in caplog.text


def test_a_tag_brings_its_own_preprocessing(monkeypatch, tmp_path):
    monkeypatch.setattr(vlm, "_cached_weights", lambda _: tmp_path / "weights")
    source = vlm.resolve("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert source.weights == tmp_path / "weights"
    tag = open_clip.get_pretrained_cfg("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert source.preprocess["mean"] == tag["mean"]
    assert {"url", "hf_hub"}.isdisjoint(source.preprocess)


# Without network.


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    monkeypatch.setattr(vlm, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    return cache


def test_without_weights_and_network_one_line_says_what_to_do(empty_cache, monkeypatch):
    asked = []
    monkeypatch.setattr(network, "reachable", asked.append)
    start = time.monotonic()
    message = error_of("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert time.monotonic() - start < 2.0
    assert message.startswith(f"no weights for coca_ViT-L-14 (laion2b_s13b_b90k) in {empty_cache} and no network")
    assert "VLM.PRETRAINED to the path of a weights file" in message
    assert len(asked) == 1 and asked[0].startswith("https://huggingface.co/")


def test_without_network_a_hub_model_says_what_to_do(empty_cache, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: False)
    message = error_of("hf-hub:somebody/some-model", "")
    assert "hf-hub:somebody/some-model is not in the local hub cache" in message
    assert "local-dir:FOLDER" in message


@pytest.mark.parametrize("failure", [OSError("no space\nleft"), huggingface_hub.errors.HFValidationError("bad name")])
def test_a_hub_model_that_cannot_be_downloaded_is_one_line(monkeypatch, failure):
    monkeypatch.setattr(network, "reachable", lambda _: True)

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(vlm, "snapshot_download", fail)
    cause = " ".join(str(failure).split())
    assert error_of("hf-hub:somebody/some-model", "") == f"model hf-hub:somebody/some-model: {cause}"


@pytest.mark.parametrize("failure", [ImportError("no module\nnamed 'transformers'"), OSError("not in the cache")])
def test_a_tokenizer_that_cannot_be_had_is_one_line(clip, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(InputError) as error:
        vlm.tokenizer_of(clip)
    cause = " ".join(str(failure).split())
    assert str(error.value) == f"the tokenizer of {clip.model} cannot be had ({cause}): pip install transformers"


def test_weights_in_the_hub_cache_need_no_network(empty_cache, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: pytest.fail("the network was asked"))
    repository, names = vlm._hub_file(open_clip.get_pretrained_cfg("coca_ViT-L-14", "laion2b_s13b_b90k"))
    snapshot = empty_cache / f"models--{repository.replace('/', '--')}" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1234")
    (snapshot / names[-1]).write_bytes(b"weights")
    assert vlm.resolve("coca_ViT-L-14", "laion2b_s13b_b90k").weights == snapshot / names[-1]


def test_a_download_that_fails_is_told(empty_cache, monkeypatch):
    def fail(_):
        raise OSError("disk\nfull")

    monkeypatch.setattr(network, "reachable", lambda _: True)
    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    message = error_of("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert message == "download of coca_ViT-L-14 (laion2b_s13b_b90k) failed: disk full"


# Loading and encoding.


@pytest.mark.parametrize("kind", ["clip", "coca"])
def test_clip_and_coca_both_give_unit_rows(kind, request, pixels):
    model = vlm.load(request.getfixturevalue(kind), "fp32", CPU)
    images, texts = model.encode_images(pixels), model.encode_texts(["a cat", "a dog", "an owl"])
    for rows in (images, texts):
        assert rows.shape == (3, 32)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))
    assert (texts[0] - texts[1]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["clip", "coca"])
def test_embeddings_are_open_clips_own_normalised_explicitly(kind, request, pixels):
    model = vlm.load(request.getfixturevalue(kind), "fp32", CPU)
    with torch.no_grad():
        images = model.model.encode_image(pixels, normalize=True)
        texts = model.model.encode_text(model.tokenizer(["a cat"]), normalize=True)
    torch.testing.assert_close(model.encode_images(pixels), images)
    torch.testing.assert_close(model.encode_texts(["a cat"]), texts)


def test_many_texts_are_encoded_in_batches(clip, monkeypatch):
    model = vlm.load(clip, "fp32", CPU)
    texts = [f"a photo of {number} cats" for number in range(7)]
    whole = model.encode_texts(texts)
    monkeypatch.setattr(vlm, "TEXT_BATCH", 3)
    torch.testing.assert_close(model.encode_texts(texts), whole)


def test_random_weights_are_the_same_each_time_and_the_global_state_stays(clip, pixels):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = vlm.load(clip, "fp32", CPU).encode_images(pixels)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(vlm.load(clip, "fp32", CPU).encode_images(pixels), first)


def test_the_model_is_frozen(clip):
    model = vlm.load(clip, "fp32", CPU).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_bf16_agrees_with_fp32_and_the_logit_scale_is_not_rounded(clip, pixels):
    low, high = vlm.load(clip, "bf16", CPU), vlm.load(clip, "fp32", CPU)
    assert next(low.model.parameters()).dtype == torch.bfloat16
    cosine = (low.encode_images(pixels) * high.encode_images(pixels)).sum(dim=-1)
    assert (cosine > 0.999).all() and (cosine < 1 - 1e-7).any()
    assert low.logit_scale == high.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)


@pytest.mark.parametrize(("noise", "agrees"), [(0.0, True), (0.02, True), (0.5, False)])
def test_the_guard_takes_low_precision_only_where_embeddings_agree(clip, pixels, noise, agrees):
    class Noisy:
        def __init__(self):
            self.model, self.device, self.precision = vlm.load(clip, "fp32", CPU), CPU, "bf16"

        def encode_images(self, batch):
            rows = self.model.encode_images(batch)
            direction = torch.nn.functional.normalize(torch.ones_like(rows), dim=-1)
            return torch.nn.functional.normalize(rows + noise * direction, dim=-1)

    assert vlm.low_precision_agrees(Noisy(), clip, pixels) is agrees


def test_weights_of_a_folder_are_the_ones_loaded(tmp_path, pixels):
    source = vlm.resolve(write_tiny_model(tmp_path), "", allow_random=True)
    model = vlm.load(source, "fp32", CPU)
    random = model.encode_images(pixels)
    state = {name: value.clone() for name, value in model.model.state_dict().items()}
    state["visual.proj"] = state["visual.proj"].flip(1).contiguous()
    state["logit_scale"] = torch.tensor(100.0).log()
    save_file(state, tmp_path / "open_clip_model.safetensors")
    found = vlm.resolve(f"local-dir:{tmp_path}", "")
    assert found.weights == tmp_path / "open_clip_model.safetensors"
    loaded = vlm.load(found, "fp32", CPU)
    torch.testing.assert_close(loaded.encode_images(pixels), random.flip(1))
    assert loaded.logit_scale == pytest.approx(100.0, rel=1e-6)


OTHER_MODEL = {"visual.proj": torch.zeros(3, 3)}


@pytest.mark.parametrize("content", [b"no weights at all", b"", OTHER_MODEL])
@pytest.mark.parametrize("file_name", ["open_clip_model.safetensors", "weights.safetensors", "weights.pt"])
def test_weights_that_do_not_load_are_told(tmp_path, monkeypatch, file_name, content):
    name, weights = write_tiny_model(tmp_path), tmp_path / file_name
    if isinstance(content, bytes):
        weights.write_bytes(content)
    elif weights.suffix == ".pt":
        torch.save(content, weights)
    else:
        save_file(content, weights)
    if file_name == "open_clip_model.safetensors":
        source = vlm.resolve(name, "")
    else:
        architecture = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", architecture)
        source = vlm.resolve("tiny", str(weights))
    with pytest.raises(InputError) as error:
        vlm.load(source, "fp32", CPU)
    assert str(error.value).startswith(f"weights {weights} do not load into model {source.model}: ")
    assert "\n" not in str(error.value)


def test_a_weights_file_loads_into_a_named_model(tmp_path, monkeypatch, clip, pixels):
    model = vlm.load(clip, "fp32", CPU)
    state = model.model.state_dict() | {"visual.proj": model.model.visual.proj.flip(1).contiguous()}
    save_file(state, tmp_path / "weights.safetensors")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", clip.architecture)
    loaded = vlm.load(vlm.resolve("tiny", str(tmp_path / "weights.safetensors")), "fp32", CPU)
    torch.testing.assert_close(loaded.encode_images(pixels), model.encode_images(pixels).flip(1))


def test_preprocessing_is_open_clips_own_to_the_bit(tmp_path):
    name = write_tiny_model(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bicubic"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    ours = vlm.load(vlm.resolve(name, "", allow_random=True), "fp32", CPU).preprocess(picture())
    _, _, transform = open_clip.create_model_and_transforms(name, load_weights=False)
    assert torch.equal(ours, transform(picture()))
    assert ours.shape == (3, 32, 32)
    # The mean and std of the folder were used: undoing them gives values of an image.
    mean, std = (torch.tensor(config["preprocess_cfg"][key])[:, None, None] for key in ("mean", "std"))
    levels = (ours * std + mean) * 255
    torch.testing.assert_close(levels, levels.round().clamp(0, 255), atol=1e-3, rtol=0)


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(70, 41), (32, 32), (20, 300)])
def test_the_two_parts_of_preprocessing_give_what_the_whole_gives_to_the_bit(clip, size, device):
    model = vlm.load(clip, "fp32", torch.device(device))
    pixels = torch.randint(256, (6, size[1], size[0], 3), generator=torch.Generator().manual_seed(0)).byte()
    images = [Image.fromarray(part.numpy()) for part in pixels]
    resized = torch.stack([model.parts.resize(image) for image in images])
    assert resized.dtype == torch.uint8 and resized.shape[-1] == 3
    whole = torch.stack([model.preprocess(image) for image in images])
    scaled = model.parts.scale(resized.to(device))
    assert scaled.is_contiguous()
    assert torch.equal(scaled.cpu(), whole)
    assert torch.equal(model.encode_images(resized), model.encode_images(whole))


def test_preprocessing_that_does_not_end_with_a_scaling_is_left_whole():
    def preprocess(image):
        return torch.ones(3, 2, 2)

    parts = vlm.split_preprocess(preprocess)
    assert parts.resize is preprocess
    assert parts.scale(torch.zeros(1, dtype=torch.uint8)).tolist() == [0]


# What an embedding depends on.


def test_the_fingerprint_changes_with_each_of_its_parts_alone(clip, monkeypatch):
    base = clip.fingerprint("0" * 64, "fp32")
    assert len(base) == 64
    others = [
        clip.fingerprint("1" * 64, "fp32"),
        clip.fingerprint("0" * 64, "bf16"),
        replace(clip, architecture=clip.architecture | {"embed_dim": 64}).fingerprint("0" * 64, "fp32"),
        replace(clip, preprocess={"mean": [0.0, 0.0, 0.0]}).fingerprint("0" * 64, "fp32"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(vlm, "READING", vlm.READING + 1)
        others.append(clip.fingerprint("0" * 64, "fp32"))
    assert len({base, *others}) == 6
    moved = replace(clip, model="m", open_clip_name="n", pretrained="p", weights=Path("elsewhere"))
    assert moved.fingerprint("0" * 64, "fp32") == base


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_it_is_native(monkeypatch, native):
    monkeypatch.setattr(vlm, "_native_bf16", lambda _: native)
    assert vlm.resolve_precision("auto", CPU) == ("bf16" if native else "fp32")
    for precision in ("fp32", "bf16", "fp16"):
        assert vlm.resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize("native", [True, False])
def test_a_processor_is_asked_whether_it_has_bf16_and_mps_has_not(monkeypatch, native):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert vlm._native_bf16(CPU) is native
    assert vlm._native_bf16(torch.device("mps")) is False


@pytest.mark.parametrize(
    ("use_cuda", "cuda", "mps", "device"),
    [
        (True, True, False, "cuda"),
        (True, False, True, "mps"),
        (True, False, False, "cpu"),
        (False, True, True, "cpu"),
    ],
)
def test_the_best_device_is_taken_unless_refused(monkeypatch, use_cuda, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    vlm.available_device.cache_clear()
    try:
        assert vlm.available_device(use_cuda).type == device
    finally:
        vlm.available_device.cache_clear()


def test_an_architecture_can_be_built_untrained(tmp_path):
    write_tiny_model(tmp_path, coca=True)
    model, tokenizer, transform = vlm.build_untrained(tmp_path)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer(["a cat"]).shape == (1, 16)
    assert transform(picture()).shape == (3, 32, 32)
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        vlm.build_untrained(tmp_path / "none")


def test_a_weights_file_gets_the_preprocessing_that_its_architectures_tags_agree_on(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    assert vlm.resolve("ViT-B-16-SigLIP", str(weights)).preprocess["mean"] == (0.5, 0.5, 0.5)


# The text tower, from the embeddings of tokens on.


@pytest.fixture(params=["clip", "coca", "demo"])
def tower(request):
    """A model whose own token embeddings may be changed."""
    source = vlm.resolve("demo", "") if request.param == "demo" else request.getfixturevalue(request.param)
    return vlm.load(source, "fp32", CPU)


def test_the_text_encoder_gives_what_the_tower_gives(tower):
    texts = ["a photo of a red circle.", "a cat.", "dogs and owls"]
    encoder, tokens = tower.text_encoder(), tower.tokenizer(texts)
    torch.testing.assert_close(encoder(encoder.embed_tokens(tokens), tokens), tower.encode_texts(texts))


def test_other_token_embeddings_and_their_gradients_are_those_of_a_vocabulary_that_has_them(tower):
    encoder, tokens = tower.text_encoder(), tower.tokenizer(["a photo of a cat.", "a photo of a blue owl."])
    context = torch.randn(3, encoder.embed_tokens(tokens).shape[2], generator=torch.Generator().manual_seed(0))
    context = (0.1 * context).requires_grad_()
    embedding = torch.stack([torch.cat([row[:2], context, row[5:]]) for row in encoder.embed_tokens(tokens)])
    result = encoder(embedding, tokens)
    (result[0] * result[1]).sum().backward()

    # The oracle: three unused words of the vocabulary get the vectors, and the tower reads them as any other words.
    table = (tower.model.text if hasattr(tower.model, "text") else tower.model).token_embedding.weight
    table.requires_grad_()
    with torch.no_grad():
        table[[300, 301, 302]] = context
    with_new_words = tokens.clone()
    with_new_words[:, 2:5] = torch.tensor([300, 301, 302])
    expected = torch.nn.functional.normalize(tower.model.encode_text(with_new_words, normalize=False), dim=-1)
    (expected[0] * expected[1]).sum().backward()
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(context.grad, table.grad[[300, 301, 302]], rtol=1e-4, atol=1e-6)


def test_the_text_encoder_leaves_the_tower_as_it_was(tower):
    before = tower.encode_texts(["a cat."])
    encoder, tokens = tower.text_encoder(), tower.tokenizer(["a photo of a cat."])
    encoder(encoder.embed_tokens(tokens) + 1.0, tokens)
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(1, tokens.shape[1], 3), tokens)
    assert torch.equal(tower.encode_texts(["a cat."]), before)
    assert not any(weight.requires_grad for weight in encoder.parameters())


@pytest.mark.parametrize(("kind", "length"), [("clip", 8), ("coca", 17)])
def test_a_short_prompt_costs_only_its_own_tokens_where_none_looks_ahead(kind, length, request):
    """CoCa's tower reads off a token of its own behind the last place, so its prompts stay as long as they are."""
    encoder = vlm.load(request.getfixturevalue(kind), "fp32", CPU).text_encoder()
    tokens = encoder.tokenizer(["a cat.", "an owl and a dog."])
    lengths = []
    encoder.tower.transformer.resblocks[0].register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[1]))
    encoder(encoder.embed_tokens(tokens), tokens)
    assert lengths == [length]


def test_a_tower_of_another_kind_is_refused():
    class Foreign(torch.nn.Module):
        text = torch.nn.Linear(2, 2)

    with pytest.raises(InputError, match="its text tower is a Linear, which takes no token embeddings"):
        vlm.TextEncoder(Foreign(), lambda texts: torch.zeros(len(texts), 4))


@pytest.fixture(params=[1, 2, 4])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["fp32", "bf16"])
def demo_model(request):
    return vlm.load(vlm.resolve("demo", ""), request.param, CPU)


@pytest.mark.usefixtures("_threads")
def test_an_embedding_is_the_same_to_the_bit_in_a_batch_of_any_size(demo_model):
    shape = demo_model.preprocess(picture()).shape
    pixels = torch.randn(19, *shape, generator=torch.Generator().manual_seed(0))
    together = demo_model.encode_images(pixels)
    one_and_more = [demo_model.encode_images(part) for part in (pixels[:1], pixels[1:])]
    assert torch.equal(torch.cat(one_and_more), together)
    for rows in (2, 3, 7, 8, 9, 10, 11, 17):
        assert torch.equal(torch.cat([demo_model.encode_images(part) for part in pixels.split(rows)]), together)


@pytest.mark.usefixtures("_threads")
def test_a_texts_embedding_is_the_same_to_the_bit_beside_any_other_texts(demo_model):
    texts = [f"a {style} of a {name}." for style in ("photo", "sketch") for name in ("red star", "blue ring", "moon")]
    together = demo_model.encode_texts(texts)
    assert together.shape == (6, demo_model.encode_texts(["a"]).shape[1])
    for rows in (1, 2, 4, 5):
        parts = [texts[place : place + rows] for place in range(0, len(texts), rows)]
        assert torch.equal(torch.cat([demo_model.encode_texts(part) for part in parts]), together)
    assert torch.equal(demo_model.encode_texts(texts[::-1] * 3)[:6], together.flip(0))
