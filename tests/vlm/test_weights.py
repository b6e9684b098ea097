from __future__ import annotations

import huggingface_hub.constants
import pytest

from lare_dassl import vlm
from lare_dassl.errors import InputError
from lare_dassl.system import network
from lare_dassl.vlm import open_clip, weights

TAG = ("coca_ViT-L-14", "laion2b_s13b_b90k")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    monkeypatch.setattr(weights, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    return cache


def error_of(*arguments):
    with pytest.raises(InputError) as error:
        vlm.resolve(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_weights_and_network_one_line_says_what_to_do(empty_cache, monkeypatch):
    asked = []
    monkeypatch.setattr(network, "reachable", asked.append)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_: pytest.fail("a download was tried"))
    message = error_of(*TAG)
    assert message.startswith(f"no weights for coca_ViT-L-14 (laion2b_s13b_b90k) in {empty_cache} and no network")
    assert "VLM.PRETRAINED to the path of a weights file" in message
    assert len(asked) == 1 and asked[0].startswith("https://huggingface.co/")


def failing(failure):
    def fail(*_, **__):
        raise failure

    return fail


def test_a_download_that_fails_is_one_line(empty_cache, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: True)
    monkeypatch.setattr(open_clip, "download_pretrained", failing(OSError("disk\nfull")))
    assert error_of(*TAG) == "download of coca_ViT-L-14 (laion2b_s13b_b90k) failed: disk full"


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


def test_without_network_a_hub_model_says_what_to_do(empty_cache, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: False)
    message = error_of("hf-hub:somebody/some-model", "")
    assert "hf-hub:somebody/some-model is not in the local hub cache" in message
    assert "local-dir:FOLDER" in message


@pytest.mark.parametrize("failure", [OSError("no space\nleft"), huggingface_hub.errors.HFValidationError("bad name")])
def test_a_hub_model_that_cannot_be_downloaded_is_one_line(monkeypatch, failure):
    monkeypatch.setattr(network, "reachable", lambda _: True)
    monkeypatch.setattr(weights, "snapshot_download", failing(failure))
    cause = " ".join(str(failure).split())
    assert error_of("hf-hub:somebody/some-model", "") == f"model hf-hub:somebody/some-model: {cause}"
