from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from lare_dassl.datasets.base.splits import split_items
from lare_dassl.embeddings.encoder.encoder import EncodingReport
from lare_dassl.encoding.build import Domains, build_embeddings, class_text_embeddings, domains_of
from lare_dassl.errors import InputError
from lare_dassl.host.door import DatasetBase, Datum
from tests.helpers import make_cfg, shifted_embeddings, write_image, write_tiny_model


def encode(cfg, dataset, describe_domains=False):
    encoded = build_embeddings(cfg, dataset, split_items(dataset, cfg), describe_domains=describe_domains)
    return encoded.embeddings, encoded.report


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
    embeddings, report = encode(cfg, dataset)
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

    again, second = encode(cfg, dataset)
    assert second == EncodingReport(images=6, decoded=0)
    assert torch.equal(again.test.embedding, embeddings.test.embedding)
    assert torch.equal(again.class_text, embeddings.class_text)

    # Rows follow their images: turning the test list round turns its rows round.
    dataset.test.reverse()
    turned, _ = encode(cfg, dataset)
    assert torch.equal(turned.test.embedding, embeddings.test.embedding.flip(0))


def test_underscores_of_class_names_are_spaces_in_prompts_and_other_names_can_be_given(cfg, dataset):
    plain, _ = encode(cfg, dataset)
    dataset.prompt_classnames = ["black cat", "hound"]
    named, _ = encode(cfg, dataset)
    assert torch.equal(named.class_text[0], plain.class_text[0])
    assert not torch.equal(named.class_text[1], plain.class_text[1])
    assert named.classnames == ("black_cat", "dog")


def test_no_val_images_are_no_val_split(cfg, dataset):
    without = Birds(train_x=dataset.train_x, test=dataset.test)
    assert encode(cfg, without)[0].val is None


def test_classes_without_names_are_called_by_their_folders(cfg, tmp_path, caplog):
    paths = [write_image(tmp_path / name / "0.png", seed=label) for label, name in enumerate(("owl", "bald_eagle"))]
    unnamed = [Datum(impath=str(path), label=label, domain=0) for label, path in enumerate(paths)]
    with caplog.at_level("WARNING"):
        embeddings, _ = encode(cfg, Birds(train_x=unnamed, test=unnamed))
    assert embeddings.classnames == ("owl", "bald_eagle")
    assert "dataset Birds names no classes" in caplog.text


def test_a_class_without_a_train_image_is_told(cfg, item):
    gap = Birds(train_x=[item(0, 0), item(2, 0)], test=[item(0, 0)])
    with pytest.raises(InputError, match="Birds: only 2 of 3 classes have training images"):
        encode(cfg, gap)


def test_a_dataset_that_brings_embeddings_needs_no_model():
    stored = shifted_embeddings()
    dataset = SimpleNamespace(embedding_set=stored, domain_names=["photo"], train_x=[], val=[], test=[])
    cfg = make_cfg(MODEL__BACKBONE__NAME="no-such-model")
    assert encode(cfg, dataset) == (stored, EncodingReport(0, 0))


def test_domains_are_described_where_that_is_asked_for(cfg, dataset):
    cfg.DATASET.SOURCE_PROMPTS.photo = "a photo of a {}."
    cfg.DATASET.TARGET_PROMPTS.painting = ["a painting of a {}.", "art of a {}."]
    assert encode(cfg, dataset)[0].domain_text is None
    embeddings, _ = encode(cfg, dataset, describe_domains=True)
    assert embeddings.described_domains == ("photo", "painting")
    assert embeddings.domain_text.shape == (2, 2, 32)
    # A photo is described as the classes are, so the first row is the class texts.
    assert torch.equal(embeddings.domain_text[0], embeddings.class_text)
    one, other = (
        encode(cfg_of(cfg, prompt), dataset)[0].class_text for prompt in ("a painting of a {}.", "art of a {}.")
    )
    torch.testing.assert_close(embeddings.domain_text[1], torch.nn.functional.normalize(one + other, dim=-1))


def cfg_of(cfg, template):
    other = cfg.clone()
    other.VLM.TEMPLATES = [template]
    return other


def test_descriptions_of_a_file_take_the_place_of_templates(cfg, dataset, tmp_path):
    plain, _ = encode(cfg, dataset)
    (tmp_path / "prompts.json").write_text(
        '{"Black cat": ["a photo of a black cat."], "dog": ["it barks"], "owl": ["x"]}'
    )
    cfg.VLM.PROMPTS_FILE = str(tmp_path / "prompts.json")
    told, _ = encode(cfg, dataset)
    assert torch.equal(told.class_text[0], plain.class_text[0])
    assert not torch.allclose(told.class_text[1], plain.class_text[1])


@pytest.mark.parametrize(
    ("key", "value"), [("VLM__PROMPTS_FILE", "prompts.json"), ("DATASET__SOURCE_PROMPTS__photo", "a photo of a {}.")]
)
def test_prompts_for_a_dataset_that_brings_its_texts_are_refused(key, value):
    dataset = SimpleNamespace(embedding_set=shifted_embeddings(), domain_names=["photo"], train_x=[], val=[], test=[])
    with pytest.raises(InputError, match=r"has no effect on EmbeddingFile, which brings its texts: leave it out"):
        encode(make_cfg(DATASET__NAME="EmbeddingFile", **{key: value}), dataset)


def test_prompts_of_domains_are_checked_before_an_image_is_encoded(cfg, dataset, tmp_path):
    cfg.DATASET.TARGET_PROMPTS.painting = ["a painting of a {}.", {"b{}": 1}]
    with pytest.raises(InputError, match=r"DATASET.TARGET_PROMPTS.painting: .* has no \{\} for the class name"):
        encode(cfg, dataset, describe_domains=True)
    assert not (tmp_path / "cache").exists()
