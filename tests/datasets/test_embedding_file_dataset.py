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


def sizes(rows):
    return [len(part) for part in rows.splits().values()]


def test_all_rows_are_there_and_are_listed_in_their_order(path, stored):
    dataset = build(path)
    assert dataset.sizes() == {"train": 24, "val": 6, "test": 45}
    for items, rows in zip(dataset.splits().values(), dataset.embeddings.splits().values(), strict=True):
        pairs = zip(rows.label.tolist(), rows.domain.tolist(), strict=True)
        assert [(item.label, item.domain) for item in items] == list(pairs)
    torch.testing.assert_close(dataset.embeddings.test.embedding, stored.test.embedding)
    assert dataset.classnames == ("cat", "dog", "owl")
    assert dataset.domain_names == ("photo", "sketch", "neon")
    assert dataset.train[0].path == str(path)


def test_shots_and_long_tails_apply_to_the_train_rows(path):
    def counts(**keys):
        dataset = build(path, **keys)
        assert len(dataset.test) == 45
        assert [item.label for item in dataset.train] == dataset.embeddings.train.label.tolist()
        return torch.bincount(dataset.embeddings.train.label)[class_order(3, 1)].tolist()

    tail = {"DATASET__LONG_TAIL__RATIO": 4, "DATASET__LONG_TAIL__PROFILE": "step"}
    assert counts(DATASET__NUM_SHOTS=2) == [2, 2, 2]
    assert counts(**tail) == [8, 8, 2]
    assert counts(DATASET__NUM_SHOTS=4, **tail) == [4, 4, 1]
    assert {*build(path, DATASET__NUM_SHOTS=4, **tail).rows["train"]} < {*build(path, **tail).rows["train"]}
    with pytest.raises(InputError, match=r"DATASET.NUM_SHOTS is 9, but class 'cat' has 8"):
        build(path, DATASET__NUM_SHOTS=9)


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
    stored, chosen = read_embedding_file(path).splits(), dataset.embeddings.splits()
    for part, rows in dataset.rows.items():
        assert rows == sorted(set(rows))
        assert len(rows) == (len(chosen[part]) if part in chosen else 0)
        if part in chosen:
            expected = stored[part].select(torch.tensor(rows))
            for name, values in vars(chosen[part]).items():
                assert torch.equal(values, vars(expected)[name])


def test_the_split_file_holds_the_row_numbers_wherever_the_file_is(path, tmp_path):
    keys = {"DATASET__NUM_SHOTS": 3, "DATASET__LONG_TAIL__RATIO": 3, "SEED": 1, "DATASET__NAME": "EmbeddingFile"}
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(path, tmp_path / "elsewhere" / "copy.safetensors")
    written = []
    for place in (path, copy):
        cfg = make_cfg(DATASET__ROOT=place, **keys)
        dataset = open_dataset(cfg)
        written.append(write_split(place.parent / "run", dataset, cfg).read_bytes())
    content = json.loads(written[0])
    assert {part: content[part] for part in dataset.rows} == dataset.rows
    assert (len(content["train"]), content["val"], content["test"]) == (6, list(range(6)), list(range(45)))
    assert content["reached_ratio"] == 3.0
    assert written[0] == written[1]


def test_chosen_sources_keep_their_rows(path):
    dataset = build(path, DATASET__SOURCE_DOMAINS=["photo"])
    chosen = dataset.embeddings
    assert (chosen.source_domains, chosen.target_domains) == (("photo",), ("neon",))
    assert {*chosen.train.domain.tolist()} == {PHOTO}
    assert {*chosen.test.domain.tolist()} == {PHOTO, NEON}
    assert sizes(chosen) == [12, 6, 30]
    # Sketch has no val rows.
    dataset = build(path, DATASET__SOURCE_DOMAINS=["sketch"], DATASET__TARGET_DOMAINS=["photo"])
    assert (dataset.embeddings.val, dataset.val, dataset.rows["val"]) == (None, [], [])
    assert {*dataset.embeddings.test.domain.tolist()} == {PHOTO, SKETCH}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"DATASET__SOURCE_DOMAINS": ["neon"]}, "'neon' has no train rows .* --source-domains among photo, sketch"),
        ({"DATASET__SOURCE_DOMAINS": ["foto"]}, "unknown source domain.*'foto': did you mean 'photo'"),
        ({"DATASET__TARGET_DOMAINS": ["photo"]}, "'photo' is both source and target"),
        ({"DATASET__ROOT": "gone.safetensors"}, r"gone.safetensors"),
        ({"DATASET__ROOT": ""}, "DATASET.ROOT is empty: give the embedding file"),
    ],
)
def test_files_and_domains_that_cannot_be_used_are_refused(path, keys, message):
    with pytest.raises(InputError, match=message):
        open_dataset(make_cfg(**{"DATASET__NAME": "EmbeddingFile", "DATASET__ROOT": path} | keys))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda stored: {"train": stored.train.select(stored.train.label != 1)},
            r"1 of 3 classes have no training image in '.*birds\.safetensors': dog",
        ),
        (
            lambda stored: {"test": stored.test.select(stored.test.domain == SKETCH), "target_domains": ()},
            "the test split has no rows",
        ),
    ],
)
def test_a_choice_that_leaves_nothing_to_train_or_test_on_is_refused(stored, tmp_path, change, message):
    write_embedding_file(tmp_path / "birds.safetensors", replace(stored, **change(stored)))
    with pytest.raises(InputError, match=message):
        build(tmp_path / "birds.safetensors", DATASET__SOURCE_DOMAINS=["photo"])


@pytest.mark.skipif(not CALTECH.is_file(), reason="needs ../shared/data/caltech39-clip-vit-b32.safetensors")
def test_real_embeddings():
    dataset = build(CALTECH, DATASET__NUM_SHOTS=4)
    assert dataset.sizes() == {"train": 156, "val": 689, "test": 1034}
    norms = dataset.embeddings.train.embedding.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
