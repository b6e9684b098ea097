from __future__ import annotations

import math

import pandas as pd
import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.runs.differences import difference_tables, half_width, paired_differences, signed
from tests.report.making import changed, record

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
    assert table.rows[0][-1] == "2 of 3 †"


def test_pairs_of_other_splits_are_refused_and_named():
    records = [record(trainer, 0, split_sha256=digest) for trainer, digest in (("LARE", "aa"), ("FineTune", "bb"))]
    records += [record(trainer, 1, split_sha256="cc") for trainer in ("LARE", "FineTune")]
    differences = paired_differences(records, "FineTune", metrics=("accuracy",))
    assert rows(differences, "n") == [(1,)]
    assert differences.refused == (
        "LARE on DemoWorld, shots all, imbalance 1, seed 0: its split is not that of FineTune",
    )


def test_a_run_on_val_is_not_compared_with_one_on_test():
    records = [record("FineTune", 0, 90.0, split="val"), record("ZeroShot", 0, 60.0)]
    for planned in ((), records):
        differences = paired_differences(records, "FineTune", metrics=("accuracy",), planned=planned)
        assert differences.pairs == ()
        assert differences.refused == (
            "ZeroShot on DemoWorld, shots all, imbalance 1, seed 0: it is tested on test, and FineTune on val",
        )
    # Where the baseline has run on both, each is compared with its own.
    records = [record(trainer, 0, value, split=split) for trainer, split, value in BOTH_SPLITS]
    differences = paired_differences(records, "FineTune", metrics=("accuracy",))
    assert rows(differences, "method", "mean") == [("LARE", 10.0), ("LARE (on val)", 5.0)]


BOTH_SPLITS = (("FineTune", "val", 90.0), ("FineTune", "test", 60.0), ("LARE", "val", 95.0), ("LARE", "test", 70.0))


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        (("B", "bb"), ("A", "aa"), "its frozen model is B, and that of FineTune is A"),
        (("B", None), ("A", None), "its frozen model is B, and that of FineTune is A"),
        (("A", "bb"), ("A", "aa"), "the weights of its frozen model are not those of FineTune"),
        (("A", "aa"), ("A", "aa"), ""),
        # An image trainer does not know the weights, and names the model otherwise.
        (("ViT-B/32", None), ("ViT-B-32", "aa"), ""),
    ],
)
def test_a_run_on_another_frozen_model_is_not_compared(own, other, reason):
    records = [
        record(trainer, 0, vlm={"model": model, "weights_sha256": weights})
        for trainer, (model, weights) in (("LARE", own), ("FineTune", other))
    ]
    differences = paired_differences(records, "FineTune")
    assert len(differences.pairs) == (reason == "")
    assert differences.refused == ((f"LARE on DemoWorld, shots all, imbalance 1, seed 0: {reason}",) if reason else ())


def test_of_several_baselines_the_one_on_the_same_frozen_model_is_compared():
    models = (("A", "aa"), ("B", "bb"))
    records = [
        record("FineTune", 0, value, vlm={"model": model, "weights_sha256": weights}, settings={"VLM.MODEL": model})
        for (model, weights), value in zip(models, (50.0, 60.0), strict=True)
    ]
    records.append(record("LARE", 0, 70.0, vlm={"model": "B", "weights_sha256": "bb"}, settings={"VLM.MODEL": "B"}))
    assert rows(paired_differences(records, "FineTune", metrics=("accuracy",)), "mean") == [(10.0,)]


def test_a_run_on_weights_that_no_baseline_has_says_so():
    models = (("FineTune", "aa"), ("FineTune", "bb"), ("LARE", "bb"), ("LARE", "cc"))
    records = [record(trainer, 0, vlm={"model": "A", "weights_sha256": weights}) for trainer, weights in models]
    differences = paired_differences(records, "FineTune")
    assert [(pair.run.number, pair.partner.number) for pair in differences.pairs] == [(2, 1)]
    assert differences.refused == (
        "LARE (weights=cc) on DemoWorld, shots all, imbalance 1, seed 0: "
        "the weights of its frozen model are not those of FineTune (weights=aa)",
    )


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
    differences = paired_differences(records, "LARE (SAMPLES_PER_IMAGE=1)", metrics=("accuracy",))
    assert rows(differences, "method", "mean") == [("FineTune", -5.0), ("LARE (SAMPLES_PER_IMAGE=4)", 2.0)]


def test_a_baseline_of_which_there_are_several_to_choose_from_is_refused():
    records = [record("LARE", 0, settings={SAMPLES: samples}) for samples in (1, 4)] + [record("FineTune", 0)]
    differences = paired_differences(records, "LARE")
    assert differences.pairs == ()
    assert differences.refused == (
        "FineTune on DemoWorld, shots all, imbalance 1, seed 0: 2 runs of LARE to compare it with",
    )
    assert difference_tables(differences)[0].rows == (("FineTune", "missing", "missing", "0 of 1 †"),)


def test_without_another_method_there_is_no_table():
    assert difference_tables(paired_differences([record("FineTune", 0)], "FineTune")) == []


def test_an_unknown_baseline_is_refused():
    with pytest.raises(InputError, match=r"unknown baseline 'finetune': did you mean 'FineTune'"):
        paired_differences([record("FineTune", 0)], "finetune")


def test_the_refusal_of_a_baseline_names_methods_alone_and_few_of_them():
    records = [record("LARE", 0, settings={SAMPLES: samples}) for samples in range(30)]
    with pytest.raises(InputError, match=r"^unknown baseline 'Nope': methods of these runs: LARE$"):
        paired_differences(records, "Nope")
    hint = r"did you mean 'LARE \(SAMPLES_PER_IMAGE=\d+\)'\? methods of these runs: LARE$"
    with pytest.raises(InputError, match=hint):
        paired_differences(records, "LARE (SAMPLES_PER_IMAGES=3)")
    many = [record(f"Method{number:02}", 0) for number in range(15)]
    with pytest.raises(InputError, match=r"Method00, .*Method11 and 3 more$"):
        paired_differences(many, "Nope")


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


def test_the_frame_has_the_columns_of_its_description():
    frame = paired_differences([record("LARE", 0), record("FineTune", 0)], "FineTune").frame
    assert isinstance(frame, pd.DataFrame)
    assert {"dataset", "shots", "imbalance", "trainer", "variant", "method", "metric", "n", "expected"} <= set(frame)
