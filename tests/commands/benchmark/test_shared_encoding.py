from __future__ import annotations

import pytest

from lare_dassl.commands.benchmark.plan import make_plan
from lare_dassl.commands.benchmark.shared_encoding import encode_shared
from lare_dassl.commands.checks import make_config
from lare_dassl.commands.train import train
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.host.door import build_dataset
from tests.helpers import benchmark_request, make_domain_tree, write_tiny_model


@pytest.fixture
def plan(tmp_path):
    """`plan(FLAG, VALUE, ...)`: the runs of a benchmark on 48 images, 16 of them to train on."""
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=12)
    backbone = write_tiny_model(tmp_path / "model")
    pairs = ["DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"]
    pairs += ["DATALOADER.NUM_WORKERS", "0", "EMBEDDINGS.CACHE_DIR", str(tmp_path / "cache"), "OPTIM.MAX_EPOCH", "1"]
    pairs += ["DATASET.SOURCE_DOMAINS", "['photo']", "DATASET.TARGET_DOMAINS", "['sketch']"]
    pairs += ["DATASET.SOURCE_PROMPTS.photo", "a photo of a {}.", "DATASET.TARGET_PROMPTS.sketch", "a sketch of a {}."]
    common = ["--root", str(tmp_path / "images"), "--backbone", backbone, "--output-dir", str(tmp_path / "out")]
    return lambda *flags: make_plan(benchmark_request(*flags, *common, *pairs)).runs


@pytest.fixture
def encoded(monkeypatch):
    """How many images each call of the encoder was asked for."""
    counts, encode = [], Encoder.encode_readable
    monkeypatch.setattr(
        Encoder, "encode_readable", lambda self, paths: counts.append(len(paths)) or encode(self, paths)
    )
    return counts


def test_runs_on_all_images_need_one_encoding_for_all(plan, encoded, monkeypatch):
    runs = plan("--trainers", "ZeroShot", "LADS", "LARE", "--shots", 1, 4, "all", "--seeds", 3)
    assert encode_shared(runs) == {}
    assert len(encoded) == 1

    def refuse(*_):
        raise AssertionError("the model is loaded again")

    monkeypatch.setattr("lare_dassl.vlm.load", refuse)
    for planned in runs[:: len(runs) // 6]:
        train(planned.request)


def test_few_shots_alone_encode_no_image_that_no_run_needs(plan, encoded):
    assert encode_shared(plan("--trainers", "ZeroShot", "LARE", "--shots", 1, 2, "--seeds", 2)) == {}
    all_images = plan("--trainers", "LARE", "--seeds", 1)
    assert encode_shared(all_images) == {}
    *few, whole = encoded
    assert len(few) == 2 * 2
    train_images = len(build_dataset(make_config(all_images[0].request)).train_x)
    assert {whole - count for count in few} == {train_images - 4, train_images - 2}


def test_what_cannot_be_split_is_refused_and_the_rest_goes_on(plan):
    runs = plan("--trainers", "ZeroShot", "LARE", "--shots", 2, 99, "--seeds", 2)
    refused = encode_shared(runs)
    assert set(refused) == {planned.folder for planned in runs if planned.facts.shots == 99}
    assert all(line.startswith("DATASET.NUM_SHOTS is 99, but class 'cat' has 9 train") for line in refused.values())


def test_unreadable_images_fail_the_runs_that_need_them(plan, tmp_path):
    runs = plan("--trainers", "LARE", "--seeds", 2)
    for path in (tmp_path / "images" / "sketch").rglob("3.png"):
        path.write_bytes(b"no image")
    refused = encode_shared(runs)
    assert set(refused) == {planned.folder for planned in runs}
    assert all("2 of 48 images cannot be read" in line and "\n" not in line for line in refused.values())
