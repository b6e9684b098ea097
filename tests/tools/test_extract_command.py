from __future__ import annotations

import json

import pytest
import torch

from lare_dassl.commands import extract as command
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.errors import exit_code
from tests.helpers import extract_request, make_domain_tree, run_train, write_tiny_model


@pytest.fixture
def words(tmp_path):
    """The flags and keys of a good command on images, but for the output."""
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=6)
    backbone = write_tiny_model(tmp_path / "model", coca=True)
    return [
        *["--root", str(tmp_path / "images"), "--source-domains", "photo", "--target-domains", "sketch"],
        *["--backbone", backbone, "--seed", "0"],
        *["DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"],
        *["DATALOADER.NUM_WORKERS", "0", "EMBEDDINGS.CACHE_DIR", str(tmp_path / "cache")],
    ]


def extract(*words):
    return exit_code(lambda: command.extract(extract_request(*words)))


def test_the_file_holds_what_the_images_give(tmp_path, words, capsys):
    file = tmp_path / "files" / "out.safetensors"
    assert extract("--output", str(file), *words) == 0
    assert "24 images, 24 decoded now" in capsys.readouterr().out
    embeddings = read_embedding_file(file)
    assert (len(embeddings.train), len(embeddings.test)) == (8, 14)
    assert embeddings.classnames == ("cat", "dog")
    assert (embeddings.source_domains, embeddings.target_domains) == (("photo",), ("sketch",))
    assert embeddings.vlm.model == f"local-dir:{tmp_path}/model"


def test_training_on_the_file_and_on_the_images_gives_the_same_metrics(tmp_path, words):
    file = tmp_path / "out.safetensors"
    assert extract("--output", str(file), *words) == 0
    quick = ["OPTIM.MAX_EPOCH", "3", "TRAINER.LARE.EPOCHS", "2"]
    common = ["--trainer", "LARE", "--seed", "0"]
    assert run_train("--output-dir", tmp_path / "a", *common, *words, *quick) == 0
    on_file = ["--root", file, "DATASET.NAME", "EmbeddingFile", *quick]
    assert run_train("--output-dir", tmp_path / "b", *common, *on_file) == 0
    images, rows = (json.loads((tmp_path / name / "record.json").read_text()) for name in "ab")
    assert images["metrics"] == rows["metrics"]
    assert images["samples"] == rows["samples"]


def test_half_precision_takes_half_the_place(tmp_path, words):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    assert extract("--output", str(whole), *words) == 0
    assert extract("--output", str(half), "--dtype", "float16", *words) == 0
    difference = read_embedding_file(whole).train.embedding - read_embedding_file(half).train.embedding
    assert 0 < difference.abs().max() < 1e-3
    assert torch.equal(read_embedding_file(whole).train.label, read_embedding_file(half).train.label)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, words, capsys):
    (tmp_path / "plain").write_text("")
    assert extract("--output", str(tmp_path / "plain" / "out.safetensors"), *words) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot write to {tmp_path}/plain (--output)")
