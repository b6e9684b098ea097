from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.embeddings.encoder.encoder import EncodingReport
from lare_dassl.encoding.build import build_embeddings, class_text_embeddings
from lare_dassl.errors import InputError
from tests.datasets.made import made_dataset
from tests.helpers import make_cfg, shifted_embeddings, write_image


def encode(cfg, dataset, describe_domains=False):
    encoded = build_embeddings(cfg, dataset, describe_domains=describe_domains)
    return encoded.embeddings, encoded.report


def test_a_class_text_embedding_is_the_unit_mean_of_its_prompts():
    unit = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
    encoder = SimpleNamespace(encode_texts=lambda texts: torch.tensor([unit[text] for text in texts]))
    found = class_text_embeddings(encoder, [["a", "b"], ["c"], ["a", "a", "c"]])
    last = torch.tensor([2.6, 0.8]) / (2.6**2 + 0.8**2) ** 0.5
    torch.testing.assert_close(found, torch.stack([torch.tensor([0.5**0.5, 0.5**0.5]), torch.tensor([0.6, 0.8]), last]))


@pytest.fixture
def cfg(tiny_cfg):
    return tiny_cfg(
        DATALOADER__NUM_WORKERS=0,
        DATASET__NAME="Birds",
        DATASET__SOURCE_DOMAINS=["photo"],
        DATASET__TARGET_DOMAINS=["painting", "neon"],
    )


@pytest.fixture
def dataset(tmp_path):
    """Two train, one val and three test images of two classes."""

    def items(split, pairs):
        start = {"train": 0, "val": 2, "test": 3}[split]
        paths = [write_image(tmp_path / f"{start + place}.png", seed=start + place) for place in range(len(pairs))]
        return [ImageItem(str(path), *pair) for path, pair in zip(paths, pairs, strict=True)]

    return ImageDataset(
        name="Birds",
        train=items("train", [(0, 0), (1, 0)]),
        val=items("val", [(1, 0)]),
        test=items("test", [(0, 1), (1, 2), (1, 1)]),
        classnames=["black_cat", "dog"],
        domain_names=["photo", "painting", "neon"],
        source_domains=["photo"],
        target_domains=["painting", "neon"],
        root=tmp_path,
    )


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
    turned, _ = encode(cfg, replace(dataset, test=dataset.test[::-1]))
    assert torch.equal(turned.test.embedding, embeddings.test.embedding.flip(0))


def test_prompts_have_the_prompt_names(cfg, dataset):
    plain, _ = encode(cfg, dataset)
    named, _ = encode(cfg, replace(dataset, prompt_names=["black cat", "hound"]))
    assert torch.equal(named.class_text[0], plain.class_text[0])
    assert not torch.equal(named.class_text[1], plain.class_text[1])
    assert named.classnames == ("black_cat", "dog")


@pytest.mark.parametrize("change", [{"val": []}, {"val_is_source": False}])
def test_without_val_images_to_select_by_there_is_no_val_split(cfg, dataset, change):
    assert encode(cfg, replace(dataset, **change))[0].val is None


def test_a_dataset_that_brings_embeddings_needs_no_model():
    stored = shifted_embeddings()
    dataset = made_dataset([(0, 0)], embeddings=stored)
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
    dataset = made_dataset([(0, 0)], embeddings=shifted_embeddings())
    with pytest.raises(InputError, match=r"has no effect on EmbeddingFile, which brings its texts: leave it out"):
        encode(make_cfg(DATASET__NAME="EmbeddingFile", **{key: value}), dataset)


def test_prompts_of_domains_are_checked_before_an_image_is_encoded(cfg, dataset, tmp_path):
    cfg.DATASET.TARGET_PROMPTS.painting = ["a painting of a {}.", {"b{}": 1}]
    with pytest.raises(InputError, match=r"DATASET.TARGET_PROMPTS.painting: .* has no \{\} for the class name"):
        encode(cfg, dataset, describe_domains=True)
    assert not (tmp_path / "cache").exists()
