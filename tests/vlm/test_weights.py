from __future__ import annotations

from unittest import mock

import huggingface_hub.constants
import pytest
from huggingface_hub.errors import HFValidationError

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.system import network
from lare_dassl.vlm import open_clip, weights

TAG = ("coca_ViT-L-14", "laion2b_s13b_b90k")


HUB_MODEL = ("hf-hub:somebody/some-model", "")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    monkeypatch.setattr(weights, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    return cache


@pytest.mark.parametrize(
    ("tag", "function", "failure", "message"),
    [
        (TAG, (open_clip, "download_pretrained"), OSError("disk\nfull"), "download of {} failed: disk full"),
        (HUB_MODEL, (weights, "snapshot_download"), OSError("no space\nleft"), "model {}: no space left"),
        (HUB_MODEL, (weights, "snapshot_download"), HFValidationError("bad name"), "model {}: bad name"),
    ],
)
@pytest.mark.usefixtures("empty_cache")
def test_a_download_that_fails_is_one_line(monkeypatch, tag, function, failure, message):
    monkeypatch.setattr(network, "reachable", lambda _: True)
    monkeypatch.setattr(*function, mock.Mock(side_effect=failure))
    with pytest.raises(InputError) as error:
        vlm.resolve(*tag)
    assert str(error.value) == message.format(f"{tag[0]} ({tag[1]})" if tag[1] else tag[0])


@pytest.mark.parametrize(
    ("tag", "cause", "advice"),
    [
        (TAG, "no weights for coca_ViT-L-14 (laion2b_s13b_b90k) in {} and no network", "VLM.PRETRAINED to the path of"),
        (HUB_MODEL, "hf-hub:somebody/some-model is not in the local hub cache", "local-dir:FOLDER"),
    ],
)
def test_without_weights_and_network_one_line_says_what_to_do(empty_cache, monkeypatch, tag, cause, advice):
    asked = []
    monkeypatch.setattr(network, "reachable", asked.append)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_: pytest.fail("a download was tried"))
    with pytest.raises(InputError) as error:
        vlm.resolve(*tag)
    message = str(error.value)
    assert cause.format(empty_cache) in message and advice in message and "\n" not in message
    assert len(asked) == 1 and asked[0].startswith("https://huggingface.co")


def test_weights_in_the_hub_cache_need_no_network(empty_cache, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: pytest.fail("the network was asked"))
    repository, _, name = open_clip.get_pretrained_cfg(*TAG)["hf_hub"].rpartition("/")
    snapshot = empty_cache / f"models--{repository.replace('/', '--')}" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1234")
    path = snapshot / (name or "open_clip_pytorch_model.bin")
    path.write_bytes(b"weights")
    assert vlm.resolve(*TAG).weights == path


def test_files_are_sought_under_the_names_that_open_clip_prefers():
    """open_clip has no public function for that; when this private one goes, see what it downloads instead."""
    files = [open_clip.get_pretrained_cfg(*tag).get("hf_hub", "") for tag in open_clip.list_pretrained()]
    names = {file.rpartition("/")[2] for file in files} | {"open_clip_pytorch_model.bin", "a.bin", "b.pth", "c.pt"}
    for name in names:
        assert weights.safe_alternatives(name) == list(open_clip.pretrained._get_safe_alternatives(name))
