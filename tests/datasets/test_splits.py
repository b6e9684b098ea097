from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from lare_dassl.dassl_api import Datum
from lare_dassl.datasets.splits import few_shot, few_shot_rows, split_by_hash, stable_fraction
from lare_dassl.errors import InputError

NAMES = ["cat", "dog", "owl"]


@pytest.fixture
def labels():
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [9, 12, 20]))


def test_few_shot_rows_takes_as_many_of_each_class_in_order(labels):
    rows = few_shot_rows(labels, 5, seed=1, classnames=NAMES)
    assert np.bincount(labels[rows]).tolist() == [5, 5, 5]
    assert (np.diff(rows) > 0).all()


def test_few_shot_rows_are_nested_and_depend_on_the_seed(labels):
    subsets = [set(few_shot_rows(labels, shots, 3, NAMES).tolist()) for shots in (1, 2, 4, 8)]
    assert all(small < large for small, large in itertools.pairwise(subsets))
    assert set(few_shot_rows(labels, 4, 3, NAMES).tolist()) == subsets[2]
    assert set(few_shot_rows(labels, 4, 4, NAMES).tolist()) != subsets[2]


def test_few_shot_rows_of_a_class_do_not_depend_on_other_classes():
    alone = few_shot_rows(np.zeros(30, dtype=np.int64), 6, 2, NAMES[:1])
    among = few_shot_rows(np.repeat([0, 1], [30, 8]), 6, 2, NAMES[:2])
    assert among[:6].tolist() == alone.tolist()


def test_few_shot_rows_are_the_same_for_ever():
    assert few_shot_rows(np.repeat([0, 1], 10), 3, 0, NAMES[:2]).tolist() == [2, 4, 6, 11, 13, 19]


def test_few_shot_rows_without_a_seed_differ_from_call_to_call():
    labels = np.zeros(1000, dtype=np.int64)
    assert few_shot_rows(labels, 20, -1, ["cat"]).tolist() != few_shot_rows(labels, 20, -1, ["cat"]).tolist()


def test_minus_one_keeps_all_rows(labels):
    assert few_shot_rows(labels, -1, 0, NAMES).tolist() == list(range(41))


@pytest.mark.parametrize("shots", [0, -2])
def test_shots_out_of_range_are_refused(labels, shots):
    with pytest.raises(InputError, match=rf"DATASET.NUM_SHOTS is {shots}"):
        few_shot_rows(labels, shots, 0, NAMES)


def test_more_shots_than_a_class_has_are_refused_by_name(labels):
    with pytest.raises(InputError, match=r"DATASET.NUM_SHOTS is 10, but class 'cat' has 9 training images"):
        few_shot_rows(labels, 10, 0, NAMES)


def test_few_shot_keeps_items_of_the_chosen_rows(labels, tmp_path):
    (tmp_path / "image").touch()
    items = [Datum(str(tmp_path / "image"), int(label), 0, NAMES[label]) for label in labels]
    assert few_shot(items, -1, 5) == items
    assert few_shot(items, 4, 5) == [items[row] for row in few_shot_rows(labels, 4, 5, NAMES)]
    with pytest.raises(InputError, match="class 'cat' has 9"):
        few_shot(items, 10, 5)


def test_stable_fraction_is_the_head_of_the_sha256():
    head = int(hashlib.sha256(b"photo/dog/1.jpg").hexdigest()[:13], 16) / 16**13
    assert stable_fraction("photo/dog/1.jpg") == pytest.approx(head, abs=1e-12)


def test_stable_fraction_is_uniform_and_below_one():
    values = np.array([stable_fraction(f"photo/dog/{number}.jpg") for number in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, 4, (0, 1))[0] == pytest.approx(1000, rel=0.1)


def test_stable_fraction_ignores_how_accents_are_stored():
    assert stable_fraction("caf\u00e9.jpg") == stable_fraction("cafe\u0301.jpg")


def test_split_by_hash_cuts_in_order_of_the_hash():
    keys = [f"{number}.jpg" for number in range(20)]
    split = split_by_hash(keys, val_fraction=0.1, test_fraction=0.3)
    ordered = sorted(keys, key=stable_fraction)
    assert sorted(split.test) == sorted(ordered[:6])
    assert sorted(split.val) == sorted(ordered[6:8])
    assert split.train == [key for key in keys if key in ordered[8:]]


def test_the_val_share_does_not_move_test_images():
    keys = [f"{number}.jpg" for number in range(31)]
    assert split_by_hash(keys, 0.3, 0.2).test == split_by_hash(keys, 0, 0.2).test


@pytest.mark.parametrize(("size", "parts"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 0, 2)), (10, (1, 3, 6))])
def test_split_by_hash_leaves_one_image_to_train_on(size, parts):
    split = split_by_hash([f"{number}.jpg" for number in range(size)], val_fraction=0.35, test_fraction=0.6)
    assert (len(split.train), len(split.val), len(split.test)) == parts


@pytest.mark.parametrize(
    ("val", "test", "message"),
    [(-0.1, 0.2, "VAL_FRACTION is -0.1"), (0.1, 1.0, "TEST_FRACTION is 1.0"), (0.5, 0.5, "leave no training image")],
)
def test_shares_that_make_no_sense_are_refused(val, test, message):
    with pytest.raises(InputError, match=message):
        split_by_hash(["1.jpg"], val, test)
