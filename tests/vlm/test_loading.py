from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.vlm import open_clip
from tests.helpers import write_tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("failure", [ImportError("no module\nnamed 'transformers'"), OSError("not in the cache")])
def test_a_tokenizer_that_cannot_be_had_is_one_line(clip, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    with pytest.raises(InputError) as error:
        vlm.tokenizer_of(clip)
    cause = " ".join(str(failure).split())
    assert str(error.value) == f"the tokenizer of {clip.model} cannot be had ({cause}): pip install transformers"


@pytest.mark.parametrize("kind", ["clip", "coca"])
def test_embeddings_are_open_clips_own_normalised_explicitly(kind, request, pixels):
    model = vlm.load(request.getfixturevalue(kind), "fp32", CPU)
    with torch.no_grad():
        images = model.model.encode_image(pixels, normalize=True)
        texts = model.model.encode_text(model.tokenizer(["a cat"]), normalize=True)
    torch.testing.assert_close(model.encode_images(pixels), images)
    torch.testing.assert_close(model.encode_texts(["a cat"]), texts)


def test_random_weights_are_the_same_each_time(clip, pixels):
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


def test_an_architecture_can_be_built_untrained(tmp_path, picture):
    write_tiny_model(tmp_path, coca=True)
    model, tokenizer, transform = vlm.build_untrained(tmp_path)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert tokenizer(["a cat"]).shape == (1, 16)
    assert transform(picture).shape == (3, 32, 32)
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        vlm.build_untrained(tmp_path / "none")
