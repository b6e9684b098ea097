from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lare_dassl import LabelledEmbeddings
from lare_dassl.encoding.duplicates import shared_rows
from lare_dassl.results.record import read_record
from tests.helpers import make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_tiny_model

NONE = {"train/val": 0, "train/test": 0, "val/test": 0}


def brute_force(first, second):
    pairs = [
        (next((place for place, one in enumerate(first) if np.array_equal(one, row)), -1), number)
        for number, row in enumerate(second)
    ]
    return [pair for pair in pairs if pair[0] >= 0]


@pytest.mark.parametrize("width", [1, 2, 7])
def test_shared_rows_are_those_of_a_brute_force_search(width):
    rng = np.random.default_rng(width)
    # Few levels, so that many rows agree, wholly or in their first numbers alone.
    first, second = (rng.integers(0, 2, size=(size, width)).astype(np.float32) for size in (30, 40))
    assert shared_rows(first, second) == brute_force(first, second) != []
    assert shared_rows(first, second + 5) == []
    assert shared_rows(first[:0], second) == shared_rows(first, second[:0]) == []


def test_rows_that_differ_in_the_last_bit_are_not_the_same():
    first = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    second = first.copy()
    second[2, 15] = np.nextafter(second[2, 15], np.float32(9))
    assert shared_rows(first, second) == [(0, 0), (1, 1), (3, 3), (4, 4)]


def with_shared_rows(embeddings):
    """Two test rows that are train rows, one of which is in the target domain, and a val row that is a train row."""
    test, val = embeddings.test.embedding.clone(), embeddings.val.embedding.clone()
    test[3], test[45], val[7] = embeddings.train.embedding[[1, 2, 5]]
    parts = {"val": replace(embeddings.val, embedding=val), "test": replace(embeddings.test, embedding=test)}
    return replace(embeddings, **parts)


def train_on_file(folder, *keys, trainer="ZeroShot"):
    words = ("--trainer", trainer, "--seed", 0, "--root", folder / "data.safetensors", "--output-dir", folder / "run")
    return run_train(*words, "DATASET.NAME", "EmbeddingFile", *keys)


def test_the_same_row_in_two_splits_of_an_embedding_file_is_counted_named_and_recorded(tmp_path, capsys):
    write_embeddings(tmp_path / "data.safetensors", with_shared_rows(shifted_embeddings()))
    assert train_on_file(tmp_path) == 0
    output = capsys.readouterr().out
    assert (
        "the same image in two splits (DATASET.DUPLICATES): 1 of 20 val images are in train too, such as val row 7 = "
        "train row 5; 2 of 60 test images are in train too, such as test row 3 = train row 1, test row 45 = train row 2"
    ) in output
    record = read_record(tmp_path / "run" / "record.json")
    assert record.duplicates == {"train/val": 1, "train/test": 2, "val/test": 0}
    assert record.samples == {"train": 40, "val": 20, "test": 60}


def test_rows_are_named_as_they_are_numbered_in_the_file(tmp_path, capsys):
    embeddings = with_shared_rows(shifted_embeddings())
    write_embeddings(tmp_path / "data.safetensors", embeddings)
    assert train_on_file(tmp_path, "DATASET.TARGET_DOMAINS", "['sketch']") == 0
    # Row 45 is of sketch, and behind the rows of painting, which are left out.
    assert "test row 45 = train row 2" in capsys.readouterr().out


def test_duplicates_that_are_refused_name_the_key(tmp_path, capsys):
    write_embeddings(tmp_path / "data.safetensors", with_shared_rows(shifted_embeddings()))
    assert train_on_file(tmp_path, "DATASET.DUPLICATES", "error") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: 1 of 20 val images are in train too, such as ")
    assert line.endswith(": take them out of one, or set DATASET.DUPLICATES warn")
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.parametrize("with_val", [True, False])
def test_a_dataset_without_duplicates_is_told_nothing(tmp_path, capsys, with_val):
    write_embeddings(tmp_path / "data.safetensors", shifted_embeddings(with_val))
    assert train_on_file(tmp_path, "DATASET.DUPLICATES", "error") == 0
    assert "DUPLICATES" not in capsys.readouterr().out
    assert read_record(tmp_path / "run" / "record.json").duplicates == NONE


def test_the_same_row_twice_in_one_split_is_no_matter(tmp_path):
    embeddings = shifted_embeddings()
    twice = LabelledEmbeddings(*(torch.cat([rows, rows]) for rows in vars(embeddings.train).values()))
    write_embeddings(tmp_path / "data.safetensors", replace(embeddings, train=twice))
    assert train_on_file(tmp_path, "DATASET.DUPLICATES", "error") == 0


@pytest.mark.parametrize("copied", ["file", "pixels"])
def test_copies_of_an_image_in_two_splits_are_found_by_content_and_by_what_they_show(tmp_path, capsys, copied):
    root = make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    words = ("--trainer", "ZeroShot", "--seed", 0, "--root", root, "--source-domains", "photo")
    words += ("--backbone", write_tiny_model(tmp_path / "model"), "--target-domains", "sketch")
    keys = ("DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32")
    keys += ("DATALOADER.NUM_WORKERS", 0, "EMBEDDINGS.CACHE_DIR", tmp_path / "cache")
    assert run_train(*words, "--output-dir", tmp_path / "before", *keys) == 0
    split = json.loads((tmp_path / "before" / "split.json").read_text())
    here, there = root / split["train"][3], root / "sketch/cat/4.png"
    if copied == "file":
        shutil.copyfile(here, there)
    else:
        Image.open(here).save(there, compress_level=0)
        assert here.read_bytes() != there.read_bytes()
    capsys.readouterr()
    assert run_train(*words, "--output-dir", tmp_path / "after", *keys) == 0
    assert f"1 of 24 test images are in train too, such as {there} = {here}" in capsys.readouterr().out
    assert read_record(tmp_path / "after" / "record.json").duplicates == NONE | {"train/test": 1}
    split_there = json.loads((tmp_path / "after" / "split.json").read_text())
    assert split_there == split
