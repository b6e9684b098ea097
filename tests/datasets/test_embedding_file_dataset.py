from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.split_file import write_split
from lare_dassl.datasets.base.subsets import class_order
from lare_dassl.embeddings.embedding_file import read_embedding_file, write_embedding_file
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings, VLMIdentity
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

CALTECH = Path(__file__).parents[3] / "shared" / "data" / "caltech39-clip-vit-b32.safetensors"
PHOTO, SKETCH, NEON = range(3)


def rows_of(domains: list[int], per_class: int, seed: int) -> LabelledEmbeddings:
    """Random rows of three classes, `per_class` in each domain, labels running fastest."""
    domain = torch.tensor(domains).repeat_interleave(3 * per_class)
    generator = torch.Generator().manual_seed(seed)
    embedding = F.normalize(torch.randn(len(domain), 8, generator=generator), dim=-1)
    return LabelledEmbeddings(embedding, torch.arange(len(domain)) % 3, domain)


@pytest.fixture
def stored() -> EmbeddingSet:
    return EmbeddingSet(
        train=rows_of([PHOTO, SKETCH], 4, seed=0),
        val=rows_of([PHOTO], 2, seed=1),
        test=rows_of([PHOTO, SKETCH, NEON], 5, seed=2),
        class_text=F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(3)), dim=-1),
        classnames=("cat", "dog", "owl"),
        domain_names=("photo", "sketch", "neon"),
        source_domains=("photo", "sketch"),
        target_domains=("neon",),
        vlm=VLMIdentity("ViT-B-32", "openai", "", 8, 100.0),
    )


@pytest.fixture
def path(stored, tmp_path) -> Path:
    write_embedding_file(tmp_path / "birds.safetensors", stored)
    return tmp_path / "birds.safetensors"


def build(path, **keys):
    return open_dataset(make_cfg(DATASET__NAME="EmbeddingFile", DATASET__ROOT=path, SEED=1, **keys))


def assert_rows_agree(items, rows):
    assert [(item.label, item.domain) for item in items] == list(
        zip(rows.label.tolist(), rows.domain.tolist(), strict=True)
    )


def test_all_rows_are_there_and_the_lists_agree(path, stored):
    dataset = build(path)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (24, 6, 45)
    for items, rows in zip(
        (dataset.train, dataset.val, dataset.test), dataset.embeddings.splits().values(), strict=True
    ):
        assert_rows_agree(items, rows)
    torch.testing.assert_close(dataset.embeddings.test.embedding, stored.test.embedding)
    assert list(dataset.classnames) == ["cat", "dog", "owl"]
    assert list(dataset.domain_names) == ["photo", "sketch", "neon"]
    assert dataset.train[0].path == str(path)


def test_num_shots_applies_to_the_train_rows(path):
    dataset = build(path, DATASET__NUM_SHOTS=2)
    train = dataset.embeddings.train
    assert torch.bincount(train.label).tolist() == [2, 2, 2]
    assert_rows_agree(dataset.train, train)
    assert len(dataset.test) == 45
    with pytest.raises(InputError, match=r"DATASET.NUM_SHOTS is 9, but class 'cat' has 8"):
        build(path, DATASET__NUM_SHOTS=9)


def test_a_long_tail_applies_to_the_train_rows(path):
    dataset = build(path, DATASET__LONG_TAIL__RATIO=4, DATASET__LONG_TAIL__PROFILE="step")
    counts = torch.bincount(dataset.embeddings.train.label)[class_order(3, 1)]
    assert counts.tolist() == [8, 8, 2]
    both = build(path, DATASET__NUM_SHOTS=4, DATASET__LONG_TAIL__RATIO=4, DATASET__LONG_TAIL__PROFILE="step")
    assert torch.bincount(both.embeddings.train.label)[class_order(3, 1)].tolist() == [4, 4, 1]
    assert set(both.rows["train"]) < set(dataset.rows["train"])


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"DATASET__NUM_SHOTS": 3, "DATASET__LONG_TAIL__RATIO": 3},
        {"DATASET__NUM_SHOTS": 3, "DATASET__SOURCE_DOMAINS": ["sketch"]},
        {"DATASET__SOURCE_DOMAINS": ["photo"], "DATASET__TARGET_DOMAINS": ["sketch"]},
    ],
)
def test_the_chosen_rows_are_those_of_the_file(path, keys):
    dataset = build(path, **keys)
    stored, chosen = read_embedding_file(path), dataset.embeddings
    for part in ("train", "val", "test"):
        rows, members = dataset.rows[part], getattr(chosen, part)
        assert rows == sorted(set(rows))
        assert len(rows) == (len(members) if members is not None else 0)
        if members is not None:
            expected = getattr(stored, part).select(torch.tensor(rows))
            assert torch.equal(members.embedding, expected.embedding)
            assert torch.equal(members.label, expected.label)
            assert torch.equal(members.domain, expected.domain)


def test_the_split_file_holds_the_row_numbers_wherever_the_file_is(path, tmp_path):
    keys = {"DATASET__NUM_SHOTS": 3, "DATASET__LONG_TAIL__RATIO": 3, "SEED": 1, "DATASET__NAME": "EmbeddingFile"}
    copy = tmp_path / "elsewhere" / "copy.safetensors"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    written = []
    for place in (path, copy):
        cfg = make_cfg(DATASET__ROOT=place, **keys)
        dataset = open_dataset(cfg)
        file = write_split(place.parent / "run", dataset, cfg)
        written.append(file.read_bytes())
    content = json.loads(written[0])
    assert {part: content[part] for part in dataset.rows} == dataset.rows
    assert (len(content["train"]), content["val"], content["test"]) == (6, list(range(6)), list(range(45)))
    assert content["reached_ratio"] == 3.0
    assert written[0] == written[1]


def test_chosen_sources_keep_their_rows(path):
    dataset = build(path, DATASET__SOURCE_DOMAINS=["photo"])
    chosen = dataset.embeddings
    assert (chosen.source_domains, chosen.target_domains) == (("photo",), ("neon",))
    assert set(chosen.train.domain.tolist()) == {PHOTO}
    assert set(chosen.test.domain.tolist()) == {PHOTO, NEON}
    assert (len(chosen.train), len(chosen.val), len(chosen.test)) == (12, 6, 30)


def test_chosen_sources_without_val_rows_leave_val_empty(path):
    dataset = build(path, DATASET__SOURCE_DOMAINS=["sketch"], DATASET__TARGET_DOMAINS=["photo"])
    assert dataset.embeddings.val is None
    assert (dataset.val, dataset.rows["val"]) == ([], [])
    assert set(dataset.embeddings.test.domain.tolist()) == {PHOTO, SKETCH}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"DATASET__SOURCE_DOMAINS": ["neon"]},
            "'neon' has no train rows .* --source-domains among photo, sketch",
        ),
        ({"DATASET__SOURCE_DOMAINS": ["foto"]}, "unknown source domain.*'foto': did you mean 'photo'"),
        ({"DATASET__TARGET_DOMAINS": ["photo"]}, "'photo' is both source and target"),
    ],
)
def test_domains_that_the_file_cannot_serve_are_refused(path, keys, message):
    with pytest.raises(InputError, match=message):
        build(path, **keys)


def test_a_class_without_train_rows_is_named(stored, tmp_path):
    train = stored.train.select(stored.train.label != 1)
    without_dogs = EmbeddingSet(**{**stored.__dict__, "train": train})
    write_embedding_file(tmp_path / "birds.safetensors", without_dogs)
    with pytest.raises(InputError, match=r"1 of 3 classes have no training image in '.*birds\.safetensors': dog"):
        build(tmp_path / "birds.safetensors")


def test_a_choice_that_leaves_nothing_to_test_on_is_refused(stored, tmp_path):
    test = stored.test.select(stored.test.domain == SKETCH)
    write_embedding_file(tmp_path / "birds.safetensors", replace(stored, test=test, target_domains=()))
    with pytest.raises(InputError, match="the test split has no rows"):
        build(tmp_path / "birds.safetensors", DATASET__SOURCE_DOMAINS=["photo"])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone.safetensors"):
        build(tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match=r"DATASET.ROOT is empty: give the embedding file"):
        build("")


@pytest.mark.skipif(not CALTECH.is_file(), reason="needs ../shared/data/caltech39-clip-vit-b32.safetensors")
def test_real_embeddings():
    dataset = build(CALTECH, DATASET__NUM_SHOTS=4)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (156, 689, 1034)
    norms = dataset.embeddings.train.embedding.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
