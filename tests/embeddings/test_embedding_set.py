from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch

from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.errors import InputError
from tests.helpers import shifted_embeddings


@pytest.fixture
def stored():
    return shifted_embeddings()


def test_splits_are_named_and_val_is_left_out_where_there_is_none(stored):
    assert {name: len(rows) for name, rows in stored.splits().items()} == {"train": 40, "val": 20, "test": 60}
    assert list(replace(stored, val=None).splits()) == ["train", "test"]


def test_rows_are_selected_by_index_and_by_mask(stored):
    chosen = stored.train.select(torch.tensor([7, 2]))
    assert torch.equal(chosen.embedding, stored.train.embedding[[7, 2]])
    assert chosen.label.tolist() == [7 % 5, 2]
    assert len(stored.test.select(stored.test.domain == 2)) == 20


def test_a_set_moves_with_all_its_tensors(monkeypatch):
    stored, moved = shifted_embeddings(described=("photo", "sketch")), []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append((tensor, device)) or tensor)
    stored.to(torch.device("cuda"))
    columns = [(rows.embedding, rows.label, rows.domain) for rows in stored.splits().values()]
    expected = [stored.class_text, stored.domain_text, *chain.from_iterable(columns)]
    assert sorted(id(tensor) for tensor, _ in moved) == sorted(map(id, expected))
    assert {device.type for _, device in moved} == {"cuda"}


def test_a_domain_may_be_described_that_has_no_image(stored):
    text = stored.class_text[None]
    assert replace(stored, domain_text=text, described_domains=("neon",)).described_domains == ("neon",)
    assert stored.domain_text is None


@pytest.mark.parametrize(
    ("shapes", "dtypes", "message"),
    [
        (((4,), (4,), (4,)), "long long", "must share N, got (4,), (4,), (4,)"),
        (((4, 3), (5,), (4,)), "long long", "must share N, got (4, 3), (5,), (4,)"),
        (((4, 3), (4,), (4, 1)), "long long", "must share N, got (4, 3), (4,), (4, 1)"),
        (((4, 3), (4,), (4,)), "int long", "must be int64, got torch.int32 and torch.int64"),
        (((4, 3), (4,), (4,)), "long int", "must be int64, got torch.int64 and torch.int32"),
    ],
)
def test_rows_of_other_shapes_or_types_are_refused(shapes, dtypes, message):
    embedding, *columns = (torch.ones(shape) for shape in shapes)
    label, domain = (column.to(getattr(torch, name)) for column, name in zip(columns, dtypes.split(), strict=True))
    with pytest.raises(InputError) as error:
        LabelledEmbeddings(embedding, label, domain)
    assert message in str(error.value)


def with_value(rows, column, value):
    return replace(rows, **{column: getattr(rows, column).index_fill(0, torch.tensor(3), value)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"class_text": s.class_text[:4]}, "must be (5 classes, 16), got (4, 16)"),
        (lambda s: {"class_text": s.class_text[:, :8]}, "must be (5 classes, 16), got (5, 8)"),
        (lambda s: {"classnames": s.classnames[:4]}, "must be (4 classes, 16), got (5, 16)"),
        (lambda s: {"vlm": replace(s.vlm, embedding_dim=8)}, "must be (5 classes, 8), got (5, 16)"),
        (
            lambda s: {"val": replace(s.val, embedding=s.val.embedding[:, :8])},
            "val embeddings are 8 wide, class texts 16",
        ),
        (
            lambda s: {"domain_text": s.class_text[None], "described_domains": ("photo", "sketch")},
            "text/domain must be (2 domains, 5 classes, 16), got (1, 5, 16)",
        ),
        (
            lambda s: {"domain_text": s.class_text[None, :4], "described_domains": ("photo",)},
            "text/domain must be (1 domains, 5 classes, 16), got (1, 4, 16)",
        ),
        (lambda s: {"domain_text": s.class_text[None, :, :8]}, "(0 domains, 5 classes, 16), got (1, 5, 8)"),
        (lambda s: {"described_domains": ("photo",)}, "(1 domains, 5 classes, 16), got (0, 5, 16)"),
        (
            lambda s: {"domain_text": s.class_text.expand(2, 5, 16), "described_domains": ("neon", "neon")},
            "a domain is described twice: neon, neon",
        ),
        (lambda s: {"test": s.test.select(torch.tensor([]).long())}, "the test split has no rows"),
        (lambda s: {"train": with_value(s.train, "label", 5)}, "train/label must lie in [0, 5), got 0 to 5"),
        (lambda s: {"train": with_value(s.train, "label", -1)}, "train/label must lie in [0, 5), got -1 to 4"),
        (lambda s: {"test": with_value(s.test, "domain", 3)}, "test/domain must lie in [0, 3), got 0 to 3"),
    ],
)
def test_sets_that_do_not_fit_together_are_refused(stored, change, message):
    with pytest.raises(InputError) as error:
        replace(stored, **change(stored))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("split", "targets", "role"),
    [
        ("train", ("painting", "sketch"), "no source domain"),
        ("val", ("painting", "sketch"), "no source domain"),
        ("test", ("painting",), "neither a source nor a target domain"),
    ],
)
def test_no_split_has_rows_of_a_domain_that_it_must_not_have(stored, split, targets, role):
    foreign = with_value(stored.splits()[split], "domain", 2)
    with pytest.raises(InputError, match=f"the {split} split has rows of domain 'sketch', .* {role}"):
        replace(stored, **{split: foreign, "target_domains": targets})
