from __future__ import annotations

import math

import pandas as pd
import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.differences import difference_tables, half_width, paired_differences, signed

from .making import record

INIT, SAMPLES = "CLASSIFIER.INIT", "TRAINER.LARE.SAMPLES_PER_IMAGE"


def rows(differences, *columns):
    return list(differences.frame[list(columns)].itertuples(index=False, name=None))


def test_the_interval_is_that_of_the_mean_of_paired_differences():
    lare, fine_tune = (66.0, 61.0, 70.0), (60.0, 59.0, 66.0)
    records = [record("FineTune", seed, value) for seed, value in enumerate(fine_tune)]
    # In another order: seeds are what pairs the runs.
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


def test_only_runs_of_the_same_cell_and_seed_are_compared():
    records = [
        *(record("FineTune", seed, 60.0, shots=4) for seed in (0, 1)),
        record("FineTune", 0, 10.0, shots=1),
        record("FineTune", 0, 20.0, shots=4, imbalance=10.0),
        record("FineTune", 0, 30.0, shots=4, dataset="A"),
        *(record("LARE", seed, 60.0 + seed, shots=4) for seed in (0, 1, 2)),
    ]
    differences = paired_differences(records, "FineTune", metrics=("accuracy",))
    assert rows(differences, "shots", "n", "expected", "mean") == [(4, 2, 3, 0.5)]
    assert differences.refused == (
        "LARE on DemoWorld, shots 4, imbalance 1, seed 2: no run of FineTune to compare it with",
    )
    table = difference_tables(differences)[0]
    assert table.rows[0][-1] == "2 of 3"
    assert table.notes[-1] == "1 of all runs could not be compared."


def test_pairs_of_other_splits_are_refused_and_named():
    records = [record(trainer, 0, split_sha256=digest) for trainer, digest in (("LARE", "aa"), ("FineTune", "bb"))]
    records += [record(trainer, 1, split_sha256="cc") for trainer in ("LARE", "FineTune")]
    # A run of a trainer that does not say is compared.
    records += [record("LARE", 2, split_sha256="dd"), record("FineTune", 2)]
    differences = paired_differences(records, "FineTune", metrics=("accuracy",))
    assert rows(differences, "n") == [(2,)]
    assert differences.refused == (
        "LARE on DemoWorld, shots all, imbalance 1, seed 0: its split is not that of FineTune",
    )


def test_a_trainer_as_baseline_stands_for_its_run_with_the_same_settings():
    records = [
        record("FineTune", 0, value, settings={INIT: name}) for name, value in (("random", 50.0), ("text", 55.0))
    ]
    records += [
        record("LARE", 0, value, settings={INIT: name, SAMPLES: samples})
        for name, samples, value in (("random", 1, 60.0), ("random", 4, 61.0), ("text", 1, 62.0), ("text", 4, 63.0))
    ]
    differences = paired_differences(records, "FineTune", metrics=("accuracy",))
    assert rows(differences, "mean") == [(10.0,), (11.0,), (7.0,), (8.0,)]
    assert differences.refused == ()


def test_a_method_with_its_settings_as_baseline_is_compared_with_all_others():
    records = [record("LARE", 0, value, settings={SAMPLES: samples}) for samples, value in ((1, 60.0), (4, 62.0))]
    records.append(record("FineTune", 0, 55.0))
    differences = paired_differences(records, f"LARE ({SAMPLES}=1)", metrics=("accuracy",))
    assert rows(differences, "method", "mean") == [("FineTune", -5.0), (f"LARE ({SAMPLES}=4)", 2.0)]


def test_a_baseline_of_which_there_are_several_to_choose_from_is_refused():
    records = [record("LARE", 0, settings={SAMPLES: samples}) for samples in (1, 4)] + [record("FineTune", 0)]
    differences = paired_differences(records, "LARE")
    assert differences.frame.empty
    assert differences.refused == (
        "FineTune on DemoWorld, shots all, imbalance 1, seed 0: 2 runs of LARE to compare it with",
    )
    assert difference_tables(differences) == []


def test_an_unknown_baseline_is_refused():
    with pytest.raises(InputError, match=r"unknown baseline 'finetune': did you mean 'FineTune'"):
        paired_differences([record("FineTune", 0)], "finetune")


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


@pytest.mark.parametrize(("value", "text"), [(1.25, "+1.2"), (-0.36, "−0.4"), (0.04, "0.0"), (-0.04, "0.0")])
def test_signs(value, text):
    assert signed(value) == text


def test_the_frame_has_the_columns_of_its_description():
    frame = paired_differences([record("LARE", 0), record("FineTune", 0)], "FineTune").frame
    assert isinstance(frame, pd.DataFrame)
    assert {"dataset", "shots", "imbalance", "trainer", "variant", "method", "metric", "n", "expected"} <= set(frame)
