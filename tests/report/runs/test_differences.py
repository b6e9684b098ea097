from __future__ import annotations

import math

import pytest

from lare_dassl.report.runs.differences import difference_tables, half_width, paired_differences, signed
from tests.report.making import changed, record


def rows(differences, *columns):
    return list(differences.frame[list(columns)].itertuples(index=False, name=None))


def test_the_interval_is_that_of_the_mean_of_paired_differences():
    lare, fine_tune = (66.0, 61.0, 70.0), (60.0, 59.0, 66.0)
    records = [record("FineTune", seed, value) for seed, value in enumerate(fine_tune)]
    # In another order: runs are paired by their seeds.
    records += [record("LARE", seed, lare[seed]) for seed in (2, 0, 1)]
    row = paired_differences(records, "FineTune", metrics=("accuracy",)).frame.iloc[0]
    assert (row["trainer"], row["metric"], row["n"]) == ("LARE", "accuracy", 3)
    # Differences 6, 2, 4: mean 4, std 2; t of two degrees of freedom at 97.5 % is 4.302652729911275.
    assert row["mean"] == pytest.approx(4.0, rel=1e-12)
    assert row["std"] == pytest.approx(2.0, rel=1e-12)
    half = 4.302652729911275 * 2.0 / math.sqrt(3)
    assert row["low"] == pytest.approx(4.0 - half, rel=1e-9)
    assert row["high"] == pytest.approx(4.0 + half, rel=1e-9)


def test_the_interval_is_that_of_tables_of_student():
    # t at 97.5 %: 12.706 with one degree of freedom, 2.776 with four.
    assert half_width(1.0, 2) == pytest.approx(12.7062 / math.sqrt(2), rel=1e-5)
    assert half_width(3.0, 5) == pytest.approx(3 * 2.77645 / math.sqrt(5), rel=1e-5)
    assert math.isnan(half_width(math.nan, 1))


def test_a_single_pair_has_no_interval():
    row = paired_differences([record("LARE", 0, 66.0), record("FineTune", 0, 60.0)], "FineTune").frame.iloc[0]
    assert (row["n"], row["mean"]) == (1, 6.0)
    assert all(math.isnan(row[name]) for name in ("std", "low", "high"))


def test_the_table_has_a_row_for_each_planned_cell():
    planned = [record(trainer, seed) for trainer in ("FineTune", "LADS", "LARE", "ZeroShot") for seed in range(5)]
    # LADS has not run; LARE lacks two seeds; ZeroShot has run, but on another split of the data.
    done = [*planned[:5], *planned[10:13], *(changed(run, split_sha256="other") for run in planned[15:])]
    differences = paired_differences(done, "FineTune", metrics=("accuracy",), planned=planned)
    (table,) = difference_tables(differences)
    assert table.rows == (
        ("ZeroShot", "missing", "0 of 5 †"),
        ("LADS", "missing", "0 of 5 †"),
        ("LARE", "0.0 [0.0, 0.0]", "3 of 5 †"),
    )
    assert table.notes[2:4] == (
        "† fewer pairs than expected: a run is not there, or cannot be compared.",
        "missing: no pair.",
    )
    assert "LADS on DemoWorld, shots all, imbalance 1: no finished run" in differences.refused
    split = "its split is not that of FineTune"
    assert f"ZeroShot on DemoWorld, shots all, imbalance 1, seeds 0, 1, 2, 3, 4: {split}" in differences.refused
    assert len(differences.refused) == 2


def test_expected_pairs_are_those_of_the_cell():
    planned = [record("ZeroShot", 0), *(record("FineTune", seed) for seed in range(3))]
    differences = paired_differences(planned, "FineTune", metrics=("accuracy",), planned=planned)
    assert difference_tables(differences)[0].rows == (("ZeroShot", "0.0", "1"),)


def test_a_metric_of_fewer_pairs_says_of_how_many():
    records = [record(trainer, seed) for trainer in ("LARE", "FineTune") for seed in (0, 1)]
    records[0] = changed(records[0], out_of_domain_accuracy=None)
    (table,) = difference_tables(paired_differences(records, "FineTune"))
    assert table.rows == (("LARE", "0.0 [0.0, 0.0]", "0.0 (n = 1)", "2"),)


def test_without_another_method_there_is_no_table():
    assert difference_tables(paired_differences([record("FineTune", 0)], "FineTune")) == []


def test_metrics_that_do_not_apply_are_left_out():
    records = [record(trainer, 0, out_of_domain_accuracy=None) for trainer in ("LARE", "FineTune")]
    assert rows(paired_differences(records, "FineTune"), "metric") == [("in_domain_accuracy",)]


def test_the_table_shows_signs_and_intervals():
    records = [record("FineTune", seed, 60.0) for seed in (0, 1)]
    records += [
        record("LARE", 0, 62.0, out_of_domain_accuracy=49.0),
        record("LARE", 1, 63.0, out_of_domain_accuracy=49.0),
    ]
    table = difference_tables(paired_differences(records, "FineTune"))[0]
    assert table.title == "DemoWorld: difference to FineTune, percentage points"
    assert table.columns == ("method", "in-domain accuracy", "out-of-domain accuracy", "pairs")
    # Differences 2 and 3: mean 2.5, half width 12.7062 · 0.7071 / 1.4142 = 6.35.
    assert table.rows == (("LARE", "+2.5 [−3.9, +8.9]", "−1.0 [−1.0, −1.0]", "2"),)
    assert table.notes == (
        "Mean of paired differences over the same seeds and splits [95 % interval by Student's t].",
        "Computed from unrounded values: a difference may be 0.1 off that of the rounded means.",
        "An interval of zero width: the difference is the same figure for every seed, as it is between methods that "
        "do not depend on the seed.",
    )
    records[-1] = changed(records[-1], out_of_domain_accuracy=49.1)
    assert len(difference_tables(paired_differences(records, "FineTune"))[0].notes) == 2


@pytest.mark.parametrize(("value", "text"), [(1.25, "+1.2"), (-0.36, "−0.4"), (0.04, "0.0"), (-0.04, "0.0")])
def test_signs(value, text):
    assert signed(value) == text
