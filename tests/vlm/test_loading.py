from __future__ import annotations

from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.vlm import open_clip
from tests.helpers import write_tiny_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("failure", [ImportError("no module\nnamed 'transformers'"), OSError("not in the cache")])
def test_a_tokenizer_that_cannot_be_had_is_one_line(clip, failure):
    cause = " ".join(str(failure).split())
    with mock.patch.object(open_clip, "get_tokenizer", side_effect=failure), pytest.raises(InputError) as error:
        vlm.tokenizer_of(clip)
    assert str(error.value) == f"the tokenizer of {clip.model} cannot be had ({cause}): pip install transformers"


@pytest.mark.parametrize("kind", ["clip", "coca"])
def test_embeddings_are_open_clips_own_of_a_frozen_model(kind, request, pixels):
    model = vlm.load(request.getfixturevalue(kind), "fp32", CPU)
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    images = model.model.encode_image(pixels, normalize=True)
    texts = model.model.encode_text(model.tokenizer(["a cat"]), normalize=True)
    torch.testing.assert_close(model.encode_images(pixels), images)
    torch.testing.assert_close(model.encode_texts(["a cat"]), texts)


def test_random_weights_are_the_same_each_time(clip, pixels):
    embeddings = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        embeddings.append(vlm.load(clip, "fp32", CPU).encode_images(pixels))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*embeddings)


def test_bf16_agrees_with_fp32_and_the_logit_scale_is_not_rounded(clip, pixels):
    low, high = vlm.load(clip, "bf16", CPU), vlm.load(clip, "fp32", CPU)
    assert next(low.model.parameters()).dtype == torch.bfloat16
    cosine = (low.encode_images(pixels) * high.encode_images(pixels)).sum(dim=-1)
    assert (cosine > 0.999).all() and (cosine < 1 - 1e-7).any()
    assert low.logit_scale == high.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_weights_of_a_file_or_folder_are_the_ones_loaded(tmp_path, monkeypatch, clip, pixels, named):
    model, weights = vlm.load(clip, "fp32", CPU), tmp_path / "open_clip_model.safetensors"
    write_tiny_model(tmp_path)
    state = model.model.state_dict() | {"logit_scale": torch.tensor(100.0).log()}
    save_file(state | {"visual.proj": state["visual.proj"].flip(1).contiguous()}, weights)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", clip.architecture)
    found = vlm.resolve("tiny", str(weights)) if named else vlm.resolve(f"local-dir:{tmp_path}", "")
    assert found.weights == weights
    loaded = vlm.load(found, "fp32", CPU)
    torch.testing.assert_close(loaded.encode_images(pixels), model.encode_images(pixels).flip(1))
    assert loaded.logit_scale == pytest.approx(100.0, rel=1e-6)


@pytest.mark.parametrize("content", [b"no weights at all", b"", {"visual.proj": torch.zeros(3, 3)}])
@pytest.mark.parametrize("file_name", ["open_clip_model.safetensors", "weights.safetensors", "weights.pt"])
def test_weights_that_do_not_load_are_told(tmp_path, monkeypatch, clip, file_name, content):
    name, weights = write_tiny_model(tmp_path), tmp_path / file_name
    if isinstance(content, bytes):
        weights.write_bytes(content)
    else:
        (torch.save if weights.suffix == ".pt" else save_file)(content, weights)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", clip.architecture)
    in_folder = weights.name.startswith("open_clip")
    source = vlm.resolve(name, "") if in_folder else vlm.resolve("tiny", str(weights))
    with pytest.raises(InputError) as error:
        vlm.load(source, "fp32", CPU)
    assert str(error.value).startswith(f"weights {weights} do not load into model {source.model}: ")
    assert "\n" not in str(error.value)


def test_an_architecture_can_be_built_untrained(tmp_path, picture):
    write_tiny_model(tmp_path, coca=True)
    model, tokenizer, transform = vlm.build_untrained(tmp_path)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (tokenizer(["a cat"]).shape, transform(picture).shape) == ((1, 16), (3, 32, 32))
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        vlm.build_untrained(tmp_path / "none")
