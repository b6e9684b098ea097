from __future__ import annotations

import math

import pytest

from lare_dassl.record import METRICS
from lare_dassl.report.summary import show_value, summarise, tidy


def record(trainer, seed, accuracy, *, dataset="DemoWorld", shots=-1, imbalance=1.0, **metrics):
    values = dict.fromkeys(METRICS, 10.0) | {"accuracy": accuracy} | metrics
    keys = {"dataset": dataset, "shots": shots, "imbalance": imbalance, "trainer": trainer, "seed": seed}
    return keys | {"metrics": {"domain_accuracy": {}} | values, "config": {}}


def test_a_record_is_a_row():
    frame = tidy([record("LARE", 3, 61.25, ece=2.5)])
    assert list(frame.columns) == ["dataset", "shots", "imbalance", "trainer", "seed", *METRICS]
    assert frame.iloc[0].tolist() == ["DemoWorld", -1, 1.0, "LARE", 3, 61.25, 10.0, 10.0, 10.0, 2.5]


def test_each_domain_has_figures_of_its_own():
    records = [
        record("LARE", seed, 60.0, domain_accuracy={"photo": photo, "neon": 5.0})
        for seed, photo in ((0, 70.0), (1, 74.0))
    ]
    row = summarise(records).iloc[0]
    assert (row["domain_accuracy/photo_mean"], row["domain_accuracy/neon_mean"]) == (72.0, 5.0)
    assert row["domain_accuracy/photo_std"] == pytest.approx(math.sqrt(8), rel=1e-12)


def test_std_is_that_of_a_sample_and_n_counts_the_seeds():
    values = [60.0, 61.0, 64.0]
    row = summarise([record("LARE", seed, value) for seed, value in enumerate(values)]).iloc[0]
    assert row["n"] == 3
    assert row["accuracy_mean"] == pytest.approx(185 / 3, rel=1e-12)
    squares = sum((value - 185 / 3) ** 2 for value in values)
    assert row["accuracy_std"] == pytest.approx(math.sqrt(squares / 2), rel=1e-12)
    assert row["macro_f1_mean"] == 10.0
    assert row["macro_f1_std"] == 0.0


def test_one_seed_has_no_std():
    row = summarise([record("LARE", 1, 60.0)]).iloc[0]
    assert row["n"] == 1
    assert row["accuracy_mean"] == 60.0
    assert math.isnan(row["accuracy_std"])


def test_figures_that_do_not_apply_are_left_out_of_the_mean():
    records = [record("LARE", seed, 60.0, out_of_domain_accuracy=value) for seed, value in ((1, 50.0), (2, None))]
    assert summarise(records).iloc[0]["out_of_domain_accuracy_mean"] == 50.0
    nowhere = [record("LARE", seed, 60.0, out_of_domain_accuracy=None) for seed in (1, 2)]
    assert math.isnan(summarise(nowhere).iloc[0]["out_of_domain_accuracy_mean"])


def test_datasets_shots_imbalances_and_trainers_are_groups_in_the_order_they_come():
    records = [
        record("ZeroShot", 1, 50.0),
        record("LARE", 1, 60.0),
        record("FineTune", 1, 55.0),
        record("LARE", 2, 62.0),
        record("LARE", 1, 40.0, shots=4),
        record("LARE", 1, 45.0, shots=4, imbalance=10.0),
        record("LARE", 1, 70.0, dataset="CUBPainting"),
    ]
    frame = summarise(records)
    groups = list(frame[["dataset", "shots", "imbalance", "trainer", "n", "accuracy_mean"]].itertuples(False, None))
    assert groups == [
        ("DemoWorld", -1, 1.0, "ZeroShot", 1, 50.0),
        ("DemoWorld", -1, 1.0, "LARE", 2, 61.0),
        ("DemoWorld", -1, 1.0, "FineTune", 1, 55.0),
        ("DemoWorld", 4, 1.0, "LARE", 1, 40.0),
        ("DemoWorld", 4, 10.0, "LARE", 1, 45.0),
        ("CUBPainting", -1, 1.0, "LARE", 1, 70.0),
    ]


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(65.449, 0.55, "65.4 ± 0.6"), (65.449, math.nan, "65.4"), (math.nan, math.nan, "–"), (0.0, 0.0, "0.0 ± 0.0")],
)
def test_values_are_shown_to_a_tenth(mean, std, text):
    assert show_value(mean, std) == text
