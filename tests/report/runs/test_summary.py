from __future__ import annotations

import math

import pytest

from lare_dassl.report.runs.summary import cells, method_label, show_value, summarise, tidy
from lare_dassl.report.runs.variants import short_names, variant_labels, variant_settings
from lare_dassl.results.record import METRICS
from tests.report.making import planned, record

SAMPLES = "TRAINER.LARE.SAMPLES_PER_IMAGE"


def test_a_record_is_a_row():
    frame = tidy([record("LARE", 3, 61.25, ece=2.5)])
    assert list(frame.columns) == [
        *("dataset", "shots", "imbalance", "trainer", "variant", "seed"),
        *METRICS,
    ]
    assert frame.iloc[0].tolist() == ["DemoWorld", -1, 1.0, "LARE", "", 3, 61.25, 61.25, 51.25, 10.0, 2.5]


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
    row = summarise(records).iloc[0]
    assert (row["out_of_domain_accuracy_mean"], row["out_of_domain_accuracy_n"], row["n"]) == (50.0, 1, 2)
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


def test_more_digits_are_shown_where_asked_for():
    assert show_value(65.449, 0.553, digits=2) == "65.45 ± 0.55"


def test_settings_in_which_runs_of_a_trainer_differ_are_a_variant():
    lare = [record("LARE", 0, settings={SAMPLES: samples, "OPTIM.LR": 0.03}) for samples in (1, 16)]
    fine_tune = record("FineTune", 0, settings={"OPTIM.LR": 0.1})
    assert variant_settings([*lare, fine_tune]) == [{SAMPLES: "1"}, {SAMPLES: "16"}, {}]
    frame = tidy([*lare, fine_tune])
    assert list(frame["variant"]) == ["SAMPLES_PER_IMAGE=1", "SAMPLES_PER_IMAGE=16", ""]
    assert method_label("LARE", frame["variant"][1]) == "LARE (SAMPLES_PER_IMAGE=16)"
    assert method_label("FineTune", "") == "FineTune"


def test_a_setting_is_called_by_its_shortest_end_that_no_other_key_has():
    keys = ("OPTIM.LR", "TRAINER.LARE.LR", "TRAINER.LARE.SAMPLES", "CLASSIFIER.INIT", "TRAINER.CTX_INIT", "LR")
    assert short_names(keys) == {
        "OPTIM.LR": "OPTIM.LR",
        "TRAINER.LARE.LR": "LARE.LR",
        "TRAINER.LARE.SAMPLES": "SAMPLES",
        "CLASSIFIER.INIT": "INIT",
        "TRAINER.CTX_INIT": "CTX_INIT",
        "LR": "LR",
    }


def test_the_label_of_a_variant_knows_all_keys_of_its_trainer():
    common = {"TRAINER.LARE.LR": 0.03, "CLASSIFIER.INIT": "text"}
    lare = [record("LARE", 0, settings=common | {"OPTIM.LR": value}) for value in (0.1, 0.2)]
    # A planned run may tell some of its settings alone, and the keys of other trainers do not count.
    entry = planned("LARE", 1, settings={"OPTIM.LR": 0.1})
    others = [record("FineTune", 0, settings={"OPTIM.LR": value}) for value in (0.1, 0.2)]
    labels = variant_labels([*lare, entry, *others])
    assert labels == ["OPTIM.LR=0.1", "OPTIM.LR=0.2", "OPTIM.LR=0.1", "LR=0.1", "LR=0.2"]
    assert list(cells(lare, [*lare, entry])["expected"]) == [2, 1]


@pytest.mark.parametrize(
    "key",
    ["OUTPUT_DIR", "SEED", "DATASET.ROOT", "DATASET.NUM_SHOTS", "DATALOADER.NUM_WORKERS", "TRAIN.CHECKPOINT_FREQ"],
)
def test_where_and_how_a_run_was_carried_out_is_no_variant(key):
    assert variant_settings([record("LARE", 0, settings={key: value}) for value in (1, 2)]) == [{}, {}]


def test_settings_of_other_datasets_make_no_variant():
    records = [record("LARE", 0, dataset=name, settings={"VLM.TEMPLATES": [name]}) for name in ("A", "B")]
    assert variant_settings(records) == [{}, {}]


def test_frozen_models_with_other_weights_are_not_averaged():
    records = [record("LARE", seed, vlm={"weights_sha256": f"{seed}" * 64}) for seed in (0, 1)]
    assert list(summarise(records)["n"]) == [1, 1]
    assert list(tidy(records)["variant"]) == ["weights=00000000", "weights=11111111"]


@pytest.mark.parametrize(
    ("dataset", "settings", "label"),
    [
        ("DemoWorld", {"DATASET.ROOT": "data/demo"}, "DemoWorld"),
        ("EmbeddingFile", {"DATASET.ROOT": "data/caltech39-clip.safetensors"}, "caltech39-clip"),
        ("DomainFolders", {"DATASET.ROOT": "data", "DATASET.ORIGIN": "pacs"}, "pacs"),
        ("DomainFolders", {"DATASET.ROOT": "data/my_images", "DATASET.ORIGIN": ""}, "my_images"),
        ("DomainFolders", {}, "DomainFolders"),
    ],
)
def test_a_dataset_of_a_generic_kind_is_called_by_its_origin_or_root(dataset, settings, label):
    assert record("LARE", 0, dataset=dataset, settings=settings).dataset_label == label


def test_without_a_plan_seeds_alone_are_known_to_be_missing():
    records = [record(trainer, seed, shots=4) for trainer in ("LARE", "FineTune") for seed in (0, 1, 7)]
    records += [record("LARE", 0, 70.0, shots=1), record("LARE", 1, 72.0, shots=1), record("ZeroShot", 0)]
    frame = cells(records)
    rows = list(frame[["shots", "method", "n", "expected"]].itertuples(index=False, name=None))
    assert rows == [(1, "LARE", 2, 3), (4, "FineTune", 3, 3), (4, "LARE", 3, 3), (-1, "ZeroShot", 1, 3)]
    assert frame["accuracy_mean"][0] == 71.0
    assert frame["accuracy_n"].tolist() == [2, 3, 3, 1]


def test_a_dataset_is_not_expected_to_have_what_only_another_one_has():
    frame = cells(
        [
            record("LARE", 0, dataset="A"),
            record("LARE", 5, dataset="B", shots=4),
            record("LADS", 5, dataset="B", shots=4),
        ]
    )
    assert list(frame[["dataset", "shots", "trainer", "expected"]].itertuples(index=False, name=None)) == [
        ("A", -1, "LARE", 1),
        ("B", 4, "LADS", 1),
        ("B", 4, "LARE", 1),
    ]


def test_a_plan_says_which_cells_and_seeds_are_expected():
    records = [record("ZeroShot", 0), record("LARE", 0), record("LARE", 0, shots=4)]
    plan = [*records, planned("LARE", 1, shots=4), planned("LADS", 0, shots=4)]
    frame = cells(records, plan)
    assert list(frame[["shots", "trainer", "n", "expected"]].itertuples(index=False, name=None)) == [
        (4, "LADS", 0, 1),
        (4, "LARE", 1, 2),
        (-1, "ZeroShot", 1, 1),
        (-1, "LARE", 1, 1),
    ]
    assert math.isnan(frame["accuracy_mean"][0])
    # A run that the plan does not name is expected too: it is there.
    assert cells([*records, record("ZeroShot", 5)], plan)["expected"].tolist() == [1, 2, 2, 1]


def test_a_planned_run_does_not_know_its_weights_and_is_still_of_its_method():
    vlms = {"A": {"weights_sha256": "a" * 64}, "B": {"weights_sha256": "b" * 64}}
    done = [record("LARE", 0, settings={"VLM.MODEL": name}, vlm=vlm) for name, vlm in vlms.items()]
    missing = [planned("LARE", 1, settings={"VLM.MODEL": name}) for name in vlms]
    frame = cells(done, [*done, *missing])
    assert frame["method"].tolist() == ["LARE (MODEL=A)", "LARE (MODEL=B)"]
    assert frame[["n", "expected"]].to_numpy().tolist() == [[1, 2], [1, 2]]


def test_the_split_is_told_where_a_run_of_the_dataset_is_on_another_than_test():
    records = [record("FineTune", 0, split="val", settings={"TEST.SPLIT": "val"}), record("LARE", 0)]
    entries = [planned("LADS", 0, settings=own) for own in ({"TEST.SPLIT": "val"}, {"TEST.SPLIT": "test"}, {})]
    methods = cells(records, [*records, *entries])["method"].tolist()
    assert methods == ["FineTune (on val)", "LADS", "LADS (on val)", "LARE"]
    varied = [record("LARE", 0, split="val", settings={SAMPLES: samples}) for samples in (1, 4)]
    assert tidy([*varied, record("LARE", 0, dataset="A")])["variant"].tolist() == [
        "SAMPLES_PER_IMAGE=1, on val",
        "SAMPLES_PER_IMAGE=4, on val",
        "",
    ]


def test_cells_stand_by_dataset_imbalance_shots_and_method_with_numbers_in_order():
    places = [("B", -1, 1.0), ("A", -1, 10.0), ("A", -1, 1.0), ("A", 16, 1.0), ("A", 4, 1.0)]
    records = [record("LARE", 0, dataset=d, shots=s, imbalance=i) for d, s, i in places]
    frame = cells(records, records)
    assert list(frame[["dataset", "shots", "imbalance"]].itertuples(index=False, name=None)) == [
        ("A", 4, 1.0),
        ("A", 16, 1.0),
        ("A", -1, 1.0),
        ("A", -1, 10.0),
        ("B", -1, 1.0),
    ]
    records = [record("LARE", 0, settings={SAMPLES: samples}) for samples in (16, 4)]
    records += [record(trainer, 0) for trainer in ("AAA", "ZeroShot", "FineTune")]
    methods = ["ZeroShot", "FineTune", "LARE (SAMPLES_PER_IMAGE=4)", "LARE (SAMPLES_PER_IMAGE=16)", "AAA"]
    assert list(cells(records)["method"]) == methods
