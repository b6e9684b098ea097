from __future__ import annotations

import pytest

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.vlm import open_clip
from tests.helpers import write_tiny_model


def error_of(*arguments, **keywords):
    with pytest.raises(InputError) as error:
        vlm.resolve(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("model", "pretrained", "parts"),
    [
        ("", "", ["MODEL.BACKBONE.NAME"]),
        ("coca_ViT-L-41", "x", ["unknown model (MODEL.BACKBONE.NAME) 'coca_ViT-L-41': did you mean 'coca_ViT-L-14'?"]),
        ("coca_ViT-L-14", "laion2b_s13b_b90", ["'laion2b_s13b_b90'", "did you mean 'laion2b_s13b_b90k'?"]),
        *(
            ("ViT-B-32", path, [f"VLM.PRETRAINED: no weights file {path}"])
            for path in ("weights/none.safetensors", "none.pt", "/weights/none")
        ),
        ("ViT-B-32", "", ["VLM.PRETRAINED", "openai", "VLM.ALLOW_RANDOM True"]),
    ],
)
def test_names_that_name_nothing_are_refused(model, pretrained, parts):
    message = error_of(model, pretrained)
    assert all(part in message for part in parts)


def test_random_weights_are_taken_where_asked_for():
    source = vlm.resolve("ViT-B-32", "", allow_random=True)
    assert source.weights is None
    assert source.architecture["embed_dim"] == 512


def test_a_slash_in_a_models_name_is_a_hyphen_as_in_openais_names(weights):
    source = vlm.resolve("ViT-B/32", str(weights))
    assert (source.model, source.open_clip_name) == ("ViT-B/32", "ViT-B-32")
    assert source.weights == weights


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


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A weights file, which is found for every tag."""
    path = tmp_path / "weights.pt"
    path.touch()
    monkeypatch.setattr(vlm.resolving, "locate", lambda *_: path)
    return path


@pytest.mark.usefixtures("weights")
def test_openai_weights_in_a_model_of_another_activation_warn(caplog):
    vlm.resolve("ViT-B-32-quickgelu", "openai")
    assert caplog.text == ""
    vlm.resolve("ViT-B-32", "openai")
    assert "name the model ViT-B-32-quickgelu" in caplog.text


def test_a_tag_brings_its_own_preprocessing(weights):
    source = vlm.resolve("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert source.weights == weights
    tag = open_clip.get_pretrained_cfg("coca_ViT-L-14", "laion2b_s13b_b90k")
    assert source.preprocess["mean"] == tag["mean"]
    assert {"url", "hf_hub"}.isdisjoint(source.preprocess)


def test_a_weights_file_gets_the_preprocessing_tags_agree_on(weights):
    assert vlm.resolve("ViT-B-16-SigLIP", str(weights)).preprocess["mean"] == (0.5, 0.5, 0.5)
