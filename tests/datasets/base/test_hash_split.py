from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lare_dassl.datasets.base.hash_split import split_by_hash, stable_fraction
from lare_dassl.errors import InputError


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
