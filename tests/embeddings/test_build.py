from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from lare_dassl.dassl_api import DatasetBase, Datum
from lare_dassl.embeddings.build import Domains, build_embeddings, class_text_embeddings, domains_of, prompts_of
from lare_dassl.embeddings.extract import EncodingReport
from lare_dassl.errors import InputError
from tests.helpers import make_cfg, shifted_embeddings, write_image, write_tiny_model


def test_our_datasets_name_their_domains_themselves():
    dataset = SimpleNamespace(
        domain_names=["photo", "neon"], source_domains=["photo"], target_domains=["neon"], domains=["other"]
    )
    cfg = make_cfg(DATASET__SOURCE_DOMAINS=["x"], DATASET__TARGET_DOMAINS=["y"])
    assert domains_of(dataset, cfg) == Domains(("photo", "neon"), ("photo",), ("neon",), test_offset=0)


def test_dassls_datasets_count_targets_from_0_again():
    dataset = SimpleNamespace(domains=["a", "b", "c"])
    cfg = make_cfg(DATASET__SOURCE_DOMAINS=["c", "a"], DATASET__TARGET_DOMAINS=["b"])
    assert domains_of(dataset, cfg) == Domains(("c", "a", "b"), ("c", "a"), ("b",), test_offset=2)


@pytest.mark.parametrize(
    ("domains", "keys"),
    [([], {"DATASET__SOURCE_DOMAINS": ["a"], "DATASET__TARGET_DOMAINS": ["b"]}), (["a", "b"], {})],
)
def test_a_dataset_without_domains_is_one_domain(domains, keys):
    cfg = make_cfg(DATASET__NAME="Caltech101", **keys)
    items = [SimpleNamespace(domain=0)]
    dataset = SimpleNamespace(domains=domains, train_x=items, test=items)
    assert domains_of(dataset, cfg) == Domains(("Caltech101",), ("Caltech101",), ())


def test_a_dataset_that_numbers_its_splits_apart_and_names_nothing_has_a_train_and_a_test_domain():
    train, test = ([SimpleNamespace(domain=number) for number in numbers] for numbers in ((0, 5), (0, 1, 2)))
    domains = domains_of(SimpleNamespace(domains=[], train_x=train, test=test), make_cfg(DATASET__NAME="IWildCam"))
    assert (domains.names, domains.sources, domains.targets) == (("train", "test"), ("train",), ("test",))
    assert domains.indices(train, is_test=False).tolist() == [0, 0]
    assert domains.indices(test, is_test=True).tolist() == [1, 1, 1]


def test_each_template_gives_each_class_a_prompt():
    assert prompts_of(["cat", "tree {x}"], ["a {}.", "the {} {}"]) == [
        ["a cat.", "the cat cat"],
        ["a tree {x}.", "the tree {x} tree {x}"],
    ]


@pytest.mark.parametrize(
    ("templates", "message"),
    [([], "VLM.TEMPLATES is empty"), (["a {}.", "a photo"], "VLM.TEMPLATES: 'a photo' has no {}")],
)
def test_templates_without_a_place_for_the_name_are_told(templates, message):
    with pytest.raises(InputError) as error:
        prompts_of(["cat"], templates)
    assert message in str(error.value)


def test_a_class_text_embedding_is_the_unit_mean_of_its_prompts():
    unit = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
    encoder = SimpleNamespace(encode_texts=lambda texts: torch.tensor([unit[text] for text in texts]))
    found = class_text_embeddings(encoder, [["a", "b"], ["c"], ["a", "a", "c"]])
    last = torch.tensor([2.6, 0.8]) / (2.6**2 + 0.8**2) ** 0.5
    torch.testing.assert_close(found, torch.stack([torch.tensor([0.5**0.5, 0.5**0.5]), torch.tensor([0.6, 0.8]), last]))


@pytest.fixture
def cfg(tmp_path):
    return make_cfg(
        MODEL__BACKBONE__NAME=write_tiny_model(tmp_path / "clip"),
        VLM__ALLOW_RANDOM=True,
        VLM__PRECISION="fp32",
        EMBEDDINGS__CACHE_DIR=tmp_path / "cache",
        DATALOADER__NUM_WORKERS=0,
        DATASET__NAME="Birds",
        DATASET__SOURCE_DOMAINS=["photo"],
        DATASET__TARGET_DOMAINS=["painting", "neon"],
    )


class Birds(DatasetBase):
    """A dataset as Dassl's own: targets are counted from 0."""

    domains = ("photo", "painting", "neon")


CLASSNAMES = ("black_cat", "dog", "owl")


@pytest.fixture
def item(tmp_path):
    """Gives a Datum of a new image."""
    numbers = itertools.count()

    def new_item(label, domain):
        number = next(numbers)
        path = write_image(tmp_path / f"{number}.png", seed=number)
        return Datum(impath=str(path), label=label, domain=domain, classname=CLASSNAMES[label])

    return new_item


@pytest.fixture
def dataset(item):
    """Two train, one val and three test images of two classes."""
    return Birds(train_x=[item(0, 0), item(1, 0)], val=[item(1, 0)], test=[item(0, 0), item(1, 1), item(1, 0)])


def test_a_dataset_becomes_an_embedding_set(cfg, dataset):
    embeddings, report = build_embeddings(cfg, dataset)
    assert report == EncodingReport(images=6, decoded=6)
    assert embeddings.train.label.tolist() == [0, 1]
    assert embeddings.val.label.tolist() == [1]
    assert embeddings.test.label.tolist() == [0, 1, 1]
    assert embeddings.train.domain.tolist() == [0, 0]
    assert embeddings.test.domain.tolist() == [1, 2, 1]
    assert embeddings.domain_names == ("photo", "painting", "neon")
    assert (embeddings.source_domains, embeddings.target_domains) == (("photo",), ("painting", "neon"))
    assert embeddings.classnames == ("black_cat", "dog")
    assert embeddings.vlm.embedding_dim == 32
    torch.testing.assert_close(embeddings.test.embedding.norm(dim=-1), torch.ones(3))

    again, second = build_embeddings(cfg, dataset)
    assert second == EncodingReport(images=6, decoded=0)
    assert torch.equal(again.test.embedding, embeddings.test.embedding)
    assert torch.equal(again.class_text, embeddings.class_text)

    # Rows follow their images: turning the test list round turns its rows round.
    dataset.test.reverse()
    turned, _ = build_embeddings(cfg, dataset)
    assert torch.equal(turned.test.embedding, embeddings.test.embedding.flip(0))


def test_underscores_of_class_names_are_spaces_in_prompts_and_other_names_can_be_given(cfg, dataset):
    plain, _ = build_embeddings(cfg, dataset)
    dataset.prompt_classnames = ["black cat", "hound"]
    named, _ = build_embeddings(cfg, dataset)
    assert torch.equal(named.class_text[0], plain.class_text[0])
    assert not torch.equal(named.class_text[1], plain.class_text[1])
    assert named.classnames == ("black_cat", "dog")


def test_no_val_images_are_no_val_split(cfg, dataset):
    without = Birds(train_x=dataset.train_x, test=dataset.test)
    assert build_embeddings(cfg, without)[0].val is None


def test_classes_without_names_are_called_by_their_folders(cfg, tmp_path, caplog):
    paths = [write_image(tmp_path / name / "0.png", seed=label) for label, name in enumerate(("owl", "bald_eagle"))]
    unnamed = [Datum(impath=str(path), label=label, domain=0) for label, path in enumerate(paths)]
    with caplog.at_level("WARNING"):
        embeddings, _ = build_embeddings(cfg, Birds(train_x=unnamed, test=unnamed))
    assert embeddings.classnames == ("owl", "bald_eagle")
    assert "dataset Birds names no classes" in caplog.text


def test_a_class_without_a_train_image_is_told(cfg, item):
    gap = Birds(train_x=[item(0, 0), item(2, 0)], test=[item(0, 0)])
    with pytest.raises(InputError, match="Birds: only 2 of 3 classes have training images"):
        build_embeddings(cfg, gap)


def test_a_dataset_that_brings_embeddings_needs_no_model():
    stored = shifted_embeddings()
    cfg = make_cfg(MODEL__BACKBONE__NAME="no-such-model")
    assert build_embeddings(cfg, SimpleNamespace(embedding_set=stored)) == (stored, EncodingReport(0, 0))


def test_shots_that_a_dataset_ignores_are_told(cfg, item):
    cfg.DATASET.NUM_SHOTS = 1
    images = [item(label, 0) for label in (0, 0, 1)]
    with pytest.raises(InputError, match=r"Birds knows no DATASET.NUM_SHOTS: it gives 3 training images"):
        build_embeddings(cfg, Birds(train_x=images, test=images))
