from __future__ import annotations

from lare_dassl.report.page import Options, write_report
from lare_dassl.report.runs.data_notes import data_notes
from tests.report.making import changed, record, write

NOT_THE_SAME = "were not run on the same images (their split.json differ): do not compare them"
SAMPLES = {"train": 38, "val": 20, "test": 57}


def test_runs_on_the_same_images_need_no_note():
    records = [record(name, seed, split_sha256=f"split {seed}") for name in ("FineTune", "LARE") for seed in (0, 1)]
    assert data_notes(records) == []


def test_methods_of_one_table_on_other_images_are_never_compared_without_a_word(tmp_path):
    records = [record(name, seed, split_sha256=f"{name} {seed}") for name in ("FineTune", "LARE") for seed in (0, 1)]
    records += [record("LADS", seed, split_sha256=f"FineTune {seed}") for seed in (0, 1)]
    expected = [
        f"DemoWorld, shots all, imbalance 1, seeds 0, 1: FineTune and LARE {NOT_THE_SAME}",
        f"DemoWorld, shots all, imbalance 1, seeds 0, 1: LARE and LADS {NOT_THE_SAME}",
    ]
    assert data_notes(records) == expected
    for number, content in enumerate(records):
        write(tmp_path / f"run{number}", content)
    page = write_report(Options(tmp_path, tmp_path / "report.html")).read_text()
    for line in expected:
        assert line in page
        assert line.replace("_", "\\_") in (tmp_path / "report" / "tables.md").read_text().replace("\\.", ".")


def test_settings_that_set_runs_apart_may_give_them_other_images():
    key = "DATASET.VAL_FRACTION"
    records = [
        record(name, 0, split_sha256=share, settings={key: share})
        for name in ("FineTune", "LARE")
        for share in ("0.1", "0.2")
    ]
    assert data_notes(records) == []
    records[3] = changed(records[3], split_sha256="0.1")
    assert data_notes(records) == [
        "DemoWorld, shots all, imbalance 1, seed 0: FineTune (VAL_FRACTION=0.2) and LARE (VAL_FRACTION=0.2) "
        + NOT_THE_SAME
    ]


def test_images_left_out_and_in_two_splits_are_counted_once_for_each_cell():
    counts = [{"train": 2, "val": 0, "test": 3}, {"train": 0, "val": 0, "test": 3}, None]
    shared = [{"train/val": 0, "train/test": 1, "val/test": 2}, {"train/val": 0, "train/test": 1, "val/test": 2}, None]
    records = [
        record("LARE", seed, samples=SAMPLES, skipped=skipped, duplicates=duplicates)
        for seed, (skipped, duplicates) in enumerate(zip(counts, shared, strict=True))
    ]
    assert data_notes(records) == [
        "DemoWorld, shots all, imbalance 1: images that cannot be read are left out (DATASET.BAD_IMAGES skip): "
        "0 to 2 of 40 train, 3 of 60 test",
        "DemoWorld, shots all, imbalance 1: images are in two splits (DATASET.DUPLICATES): 1 of 57 test are in train "
        "too, 2 of 57 test are in val too",
    ]


def test_records_of_earlier_versions_have_no_counts():
    assert data_notes([record("LARE", 0), record("FineTune", 0, skipped={"train": 0}, duplicates=None)]) == []
