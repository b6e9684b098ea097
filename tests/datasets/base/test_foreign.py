"""Datasets that are not ours, as Dassl's, CoOp's and plugins' are."""

from __future__ import annotations

from collections import Counter

import pytest

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.datasets.base.foreign import as_image_dataset, check_split_applied
from lare_dassl.errors import InputError
from lare_dassl.host.door import DatasetBase, Datum
from tests.helpers import make_cfg

NAMES = ["black_cat", "dog", "owl"]


class Elsewhere(DatasetBase):
    """A dataset without domains."""


class Shifted(DatasetBase):
    """A dataset for domain generalisation, as Dassl's own: targets are counted from 0 again."""

    domains = ("photo", "painting", "neon")


@pytest.fixture
def data(tmp_path):
    """Gives a Datum of one image for each pair (label, domain)."""
    (tmp_path / "image").touch()
    return lambda pairs: [Datum(str(tmp_path / "image"), label, domain, NAMES[label]) for label, domain in pairs]


def cfg_of(settings=None, **keys):
    settings = settings or SplitSettings()
    tail = {"RATIO": settings.ratio, "PROFILE": settings.profile, "MIN_IMAGES": settings.min_images}
    tail = {f"DATASET__LONG_TAIL__{name}": value for name, value in tail.items()}
    names = {"DATASET__NAME": "Elsewhere", "TRAINER__NAME": "CoOp", "SEED": 0}
    return make_cfg(DATASET__NUM_SHOTS=settings.shots, **tail, **(names | keys))


def domains_of(dataset):
    return tuple(dataset.domain_names), tuple(dataset.source_domains), tuple(dataset.target_domains)


def numbers(items):
    return [item.domain for item in items]


def test_targets_that_are_counted_from_0_again_come_behind_the_sources(data):
    dataset = Shifted(train_x=data([(0, 0), (0, 1)]), val=data([(0, 1)]), test=data([(0, 0)]))
    cfg = cfg_of(DATASET__SOURCE_DOMAINS=["neon", "photo"], DATASET__TARGET_DOMAINS=["painting"])
    wrapped = as_image_dataset(dataset, cfg)
    assert domains_of(wrapped) == (("neon", "photo", "painting"), ("neon", "photo"), ("painting",))
    assert (numbers(wrapped.train), numbers(wrapped.val), numbers(wrapped.test)) == ([0, 1], [1], [2])
    assert wrapped.has_validation
    assert list(wrapped.classnames) == ["black_cat"]
    assert list(wrapped.prompt_names) == ["black cat"]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [(Elsewhere, {"DATASET__SOURCE_DOMAINS": ["a"], "DATASET__TARGET_DOMAINS": ["b"]}), (Shifted, {})],
)
def test_a_dataset_without_domains_is_one_domain(data, kind, keys):
    wrapped = as_image_dataset(kind(train_x=data([(0, 0)]), test=data([(0, 0)])), cfg_of(**keys))
    assert domains_of(wrapped) == (("Elsewhere",), ("Elsewhere",), ())
    assert (wrapped.val, wrapped.has_validation) == ([], False)


def test_a_dataset_that_numbers_its_splits_apart_has_a_train_and_a_test_domain(data):
    """Nothing is selected by its validation images, which may be of any domain."""
    dataset = Elsewhere(train_x=data([(0, 0), (0, 5)]), val=data([(0, 7)]), test=data([(0, 0), (0, 2)]))
    wrapped = as_image_dataset(dataset, cfg_of())
    assert domains_of(wrapped) == (("train", "test"), ("train",), ("test",))
    assert (numbers(wrapped.train), numbers(wrapped.val), numbers(wrapped.test)) == ([0, 0], [0], [1, 1])
    assert (wrapped.has_validation, wrapped.used_splits()["val"]) == (False, [])


def test_classes_without_names_are_called_by_their_folders(tmp_path, caplog):
    for name in ("owl", "bald_eagle"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").touch()
    unnamed = [
        Datum(impath=f"{tmp_path}/{name}/0.png", label=label) for label, name in enumerate(("owl", "bald_eagle"))
    ]
    with caplog.at_level("WARNING"):
        wrapped = as_image_dataset(Elsewhere(train_x=unnamed, test=unnamed), cfg_of())
    assert list(wrapped.classnames) == ["owl", "bald_eagle"]
    assert "dataset Elsewhere names no classes" in caplog.text


def test_a_class_without_a_training_image_is_named(data):
    gap = Elsewhere(train_x=data([(0, 0), (2, 0)]), test=data([(0, 0)]))
    with pytest.raises(InputError, match=r"Elsewhere: 1 of 3 classes have no training image in '.*': label 1; give"):
        as_image_dataset(gap, cfg_of())


# Images of each class and domain, the settings, and the images of each class that remain.
FOREIGN = {
    "all": ({(0, 0): 5, (1, 0): 3}, SplitSettings(), [5, 3]),
    "shots ignored": ({(0, 0): 5, (1, 0): 3}, SplitSettings(2), [2, 2]),
    "shots applied": ({(0, 0): 2, (1, 0): 2}, SplitSettings(2), [2, 2]),
    "shots applied as far as a class has them": ({(0, 0): 4, (1, 0): 3}, SplitSettings(4), [4, 3]),
    "shots applied by domain": ({(0, 0): 2, (0, 1): 2, (1, 0): 2, (1, 1): 2}, SplitSettings(2), [4, 4]),
    "shots ignored in a domain": ({(0, 0): 2, (0, 1): 3, (1, 0): 2}, SplitSettings(2), [2, 2]),
    "long tail": ({(0, 0): 8, (1, 0): 9}, SplitSettings(ratio=4), [8, 2]),
    "shots ignored, long tail": ({(0, 0): 9, (1, 0): 9}, SplitSettings(6, 3), [6, 2]),
    "shots applied, long tail": ({(0, 0): 4, (1, 0): 4}, SplitSettings(4, 4), [4, 1]),
    "shots applied by domain, long tail": ({(0, 0): 4, (0, 1): 4, (1, 0): 4, (1, 1): 4}, SplitSettings(4, 4), [4, 1]),
    "few images, long tail": ({(0, 0): 4, (1, 0): 3}, SplitSettings(4, 3), [3, 1]),
}


@pytest.mark.parametrize(("groups", "settings", "remaining"), FOREIGN.values(), ids=FOREIGN)
def test_what_other_datasets_did_not_apply_is_applied_to_them(data, groups, settings, remaining):
    train = data(pair for pair, count in groups.items() for _ in range(count))
    dataset, cfg = Elsewhere(train_x=train, val=train[:1], test=train[:2]), cfg_of(settings)
    wrapped = as_image_dataset(dataset, cfg)
    assert sorted(Counter(item.label for item in wrapped.train).values(), reverse=True) == remaining
    assert (len(wrapped.val), len(wrapped.test)) == (1, 2)
    if len(wrapped.train) < len(train):
        with pytest.raises(InputError, match=r"Elsewhere knows no DATASET.(NUM_SHOTS|LONG_TAIL).*CoOp trains on all"):
            check_split_applied(cfg, dataset)
    else:
        check_split_applied(cfg, dataset)
