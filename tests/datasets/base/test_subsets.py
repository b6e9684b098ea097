from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.datasets.base.subsets import class_order, few_images, profile_counts, training_rows
from lare_dassl.errors import InputError
from tests.datasets.made import made_dataset
from tests.helpers import make_cfg

NAMES = ["cat", "dog", "owl"]
TEN = [f"class{label}" for label in range(10)]


@pytest.fixture
def labels():
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [9, 12, 20]))


@pytest.fixture
def ten():
    """Labels of ten classes of 40 to 58 rows, mixed."""
    return np.random.default_rng(1).permutation(np.repeat(np.arange(10), np.arange(40, 60, 2)))


def few(labels, shots, seed, names=NAMES):
    return training_rows(labels, SplitSettings(shots), seed, names)


def test_few_shots_take_as_many_of_each_class_in_order(labels):
    rows = few(labels, 5, seed=1)
    assert np.bincount(labels[rows]).tolist() == [5, 5, 5]
    assert (np.diff(rows) > 0).all()


def test_few_shots_are_nested_and_depend_on_the_seed(labels):
    subsets = [set(few(labels, shots, 3).tolist()) for shots in (1, 2, 4, 8)]
    assert all(small < large for small, large in itertools.pairwise(subsets))
    assert set(few(labels, 4, 3).tolist()) == subsets[2]
    assert set(few(labels, 4, 4).tolist()) != subsets[2]


def test_few_shots_of_a_class_do_not_depend_on_other_classes():
    alone = few(np.zeros(30, dtype=np.int64), 6, 2, NAMES[:1])
    among = few(np.repeat([0, 1], [30, 8]), 6, 2, NAMES[:2])
    assert among[:6].tolist() == alone.tolist()


def test_few_shots_are_the_same_for_ever():
    assert few(np.repeat([0, 1], 10), 3, 0, NAMES[:2]).tolist() == [2, 4, 6, 11, 13, 19]


@pytest.mark.parametrize("settings", [SplitSettings(20), SplitSettings(ratio=5.0)])
def test_without_a_seed_the_rows_differ_from_call_to_call(settings):
    labels = np.repeat([0, 1], 1000)
    first, second = (training_rows(labels, settings, -1, NAMES[:2]) for _ in range(2))
    assert first.tolist() != second.tolist()


def rounded_half_up(size: Fraction) -> int:
    return int(size + Fraction(1, 2))


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("largest", [1, 2, 16, 37, 500])
@pytest.mark.parametrize("ratio", [1, 2, 3, 10, 50, 100])
def test_profiles_agree_with_exact_arithmetic(classes, largest, ratio):
    step = profile_counts(largest, classes, SplitSettings(ratio=ratio, profile="step"))
    head = (classes + 1) // 2
    tail = rounded_half_up(Fraction(largest, ratio))
    assert step == [largest] * head + [tail] * (classes - head)

    # n_c rounds up from k to k + 1 at k + 1/2: compare whole powers, which need no root.
    exp = profile_counts(largest, classes, SplitSettings(ratio=ratio))
    power = max(classes - 1, 1)
    for rank, count in enumerate(exp):
        exact = Fraction(largest**power, ratio**rank)
        assert max(Fraction(2 * count - 1, 2), 0) ** power <= exact < Fraction(2 * count + 1, 2) ** power
    assert exp[0] == largest


def test_profiles_are_those_of_the_papers():
    assert profile_counts(500, 10, SplitSettings(ratio=100)) == [500, 300, 180, 108, 65, 39, 23, 14, 8, 5]
    assert profile_counts(100, 5, SplitSettings(ratio=10, profile="step")) == [100, 100, 100, 10, 10]
    # In floating point 48 · 64^(−5/6) is 1.4999999999999998.
    assert profile_counts(48, 7, SplitSettings(ratio=64)) == [48, 24, 12, 6, 3, 2, 1]


@pytest.mark.parametrize("profile", ["exp", "step"])
@pytest.mark.parametrize(("shots", "ratio"), [(-1, 10), (-1, 40), (30, 8), (5, 10), (40, 1)])
def test_a_long_tail_has_its_profile_whatever_the_datasets_own_imbalance(ten, profile, shots, ratio):
    settings = SplitSettings(shots, ratio, profile)
    for seed in range(10):
        rows = training_rows(ten, settings, seed, TEN)
        counts = np.bincount(ten[rows], minlength=10)
        largest = 40 if shots == -1 else shots
        assert counts[class_order(10, seed)].tolist() == profile_counts(largest, 10, settings)
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_long_tails_nest_in_ratio_and_in_shots(ten, profile):
    for seed in range(10):
        by_ratio = [training_rows(ten, SplitSettings(-1, r, profile, 1), seed, TEN) for r in (1, 2, 10, 50, 100)]
        by_shots = [training_rows(ten, SplitSettings(k, 10, profile, 1), seed, TEN) for k in (40, 16, 8, 4, 1)]
        for larger, smaller in [*itertools.pairwise(by_ratio), *itertools.pairwise(by_shots)]:
            assert set(smaller.tolist()) <= set(larger.tolist())
        assert len(by_ratio[0]) > len(by_ratio[2]) > len(by_shots[2])


def test_the_order_of_the_classes_follows_from_the_seed_alone(ten):
    orders = set()
    for seed in range(20):
        found = [
            np.bincount(labels[training_rows(labels, SplitSettings(shots, 10.0), seed, TEN)]).argsort(kind="stable")[-1]
            for labels, shots in ((ten, -1), (ten[::-1], 10), (np.repeat(np.arange(10), 100), -1))
        ]
        assert found == [class_order(10, seed)[0]] * 3
        assert sorted(class_order(10, seed)) == list(range(10))
        orders.add(tuple(class_order(10, seed)))
    assert len(orders) == 20
    assert class_order(6, 0).tolist() == [1, 4, 5, 3, 2, 0]


def test_rows_of_a_class_in_a_long_tail_do_not_depend_on_the_order_of_others(ten):
    """Only where the rows of a class stand changes; which of them are taken does not."""
    others = np.flatnonzero(ten != 4)
    shuffled = ten.copy()
    shuffled[others] = np.random.default_rng(2).permutation(ten[others])
    settings = SplitSettings(30, 6.0)
    for seed in range(5):
        one, other = (training_rows(labels, settings, seed, TEN) for labels in (ten, shuffled))
        assert one[ten[one] == 4].tolist() == other[shuffled[other] == 4].tolist()


def test_a_least_size_fills_up_the_small_classes(ten):
    settings = SplitSettings(16, 100, "exp", 2)
    counts = np.bincount(ten[training_rows(ten, settings, 0, TEN)], minlength=10)
    assert counts[class_order(10, 0)].tolist() == [16, 10, 6, 3, 2, 2, 2, 2, 2, 2]


def test_few_images_are_those_of_the_chosen_rows(labels):
    dataset = made_dataset([(label, 0) for label in labels.tolist()])
    assert few_images(dataset, SplitSettings(), 5) is dataset
    settings = SplitSettings(8, 4.0, "step")
    expected = training_rows(labels, settings, 5, NAMES)
    few = few_images(dataset, settings, 5)
    assert few.train == [dataset.train[row] for row in expected]
    assert (few.val, few.test) == (dataset.val, dataset.test)


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_one_class_has_no_tail(profile):
    labels = np.zeros(12, dtype=np.int64)
    assert len(training_rows(labels, SplitSettings(-1, 100, profile), 0, ["cat"])) == 12
    assert len(training_rows(labels, SplitSettings(5, 100, profile), 0, ["cat"])) == 5


SMALLEST = NAMES[class_order(3, 7)[2]]
LEFT_EMPTY = (
    rf"^DATASET.LONG_TAIL.RATIO 9 with DATASET.NUM_SHOTS 4 leaves class '{SMALLEST}' without a training image \(the "
    r"largest class has 4\): lower DATASET.LONG_TAIL.RATIO to 8 or less, raise DATASET.NUM_SHOTS, or set "
    "DATASET.LONG_TAIL.MIN_IMAGES 1$"
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((10,), "DATASET.NUM_SHOTS is 10, but class 'cat' has 9 training images"),
        ((4, 9, "exp"), LEFT_EMPTY),
        ((4, 9, "step"), LEFT_EMPTY),
        ((-1, 19), r"NUM_SHOTS -1 leaves class .* to 18 or less, or set DATASET.LONG_TAIL.MIN"),
        ((4, 2, "exp", 5), "MIN_IMAGES is 5, but the largest class has 4 images: lower it to 4"),
    ],
)
def test_settings_that_the_classes_cannot_serve_are_refused(labels, settings, message):
    with pytest.raises(InputError, match=message):
        training_rows(labels, SplitSettings(*settings), 7, NAMES)


def test_a_long_tail_of_a_dataset_that_lacks_a_class_is_refused():
    with pytest.raises(InputError, match="class 'dog' has no training image"):
        training_rows(np.array([0, 0, 2, 2]), SplitSettings(ratio=2), 0, NAMES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"shots": 0}, r"^DATASET.NUM_SHOTS must be at least 1, or -1, not 0$"),
        ({"shots": -2}, r"^DATASET.NUM_SHOTS must be at least 1, or -1, not -2$"),
        ({"ratio": 0.5}, r"^DATASET.LONG_TAIL.RATIO must be at least 1, not 0.5$"),
        ({"ratio": float("inf")}, r"RATIO must be a finite number, not inf"),
        ({"ratio": float("nan")}, r"RATIO must be a finite number, not nan"),
        ({"profile": "linear"}, r"PROFILE must be one of exp, step, not 'linear'"),
        ({"min_images": -1}, r"MIN_IMAGES must be at least 0, not -1"),
    ],
)
def test_settings_out_of_range_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        SplitSettings(**keys)


def test_settings_come_from_the_config():
    assert SplitSettings.from_cfg(make_cfg()) == SplitSettings()
    keys = {"DATASET__LONG_TAIL__RATIO": 20, "DATASET__LONG_TAIL__PROFILE": "step"}
    cfg = make_cfg(DATASET__NUM_SHOTS=3, DATASET__LONG_TAIL__MIN_IMAGES=2, **keys)
    assert SplitSettings.from_cfg(cfg) == SplitSettings(3, 20.0, "step", 2)
