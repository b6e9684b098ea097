from __future__ import annotations

import pytest
from rich.console import Console

from lare_dassl.report import terminal
from lare_dassl.results.record import read_record
from tests.helpers import run_train, write_embeddings
from tests.report.making import changed, planned, record

# In-domain accuracy 60 and 62; out-of-domain accuracy 50 and 52.
LARE = [record("LARE", 0, 60.0), record("LARE", 1, 62.0)]
ZERO_SHOT = [record("ZeroShot", seed, 50.0) for seed in (0, 1)]


def text_of(table, width=160):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def rows_of(text, method):
    return [cells_of(line) for line in text.splitlines() if method in line]


def cells_of(line):
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_the_table_has_a_row_for_each_method_with_mean_std_and_seeds():
    text = text_of(terminal.accuracy_table([*ZERO_SHOT, *LARE], title="Comparison"))
    assert "Comparison" in text and "in-domain, % (photo)" in text
    assert rows_of(text, "LARE") == [["LARE", "61.0 ± 1.4", "51.0 ± 1.4", "2"]]


def test_missing_runs_are_counted_and_a_method_without_any_has_a_row():
    plan = [*ZERO_SHOT, *(planned("LARE", seed) for seed in (0, 1))]
    text = text_of(terminal.accuracy_table([*ZERO_SHOT, LARE[0]], plan))
    assert rows_of(text, "LARE") == [["LARE", "60.0", "50.0", "1 of 2, 1 missing"]]
    text = text_of(terminal.accuracy_table(ZERO_SHOT, plan))
    assert rows_of(text, "ZeroShot")[0][3] == "2"
    assert rows_of(text, "LARE") == [["LARE", "–", "–", "0 of 2, 2 missing"]]


@pytest.mark.parametrize(
    ("field", "values", "rows"),
    [
        ("shots", (-1, 4), [["4", "LARE"], ["all", "LARE"]]),
        ("imbalance", (1.0, 50.0), [["1", "", "LARE"], ["50", "", "LARE"]]),
    ],
)
def test_shots_and_imbalance_have_columns_where_they_differ_from_the_usual(field, values, rows):
    records = [record("LARE", 0, settings={"OUTPUT_DIR": "nowhere"}, **{field: value}) for value in values]
    text = text_of(terminal.accuracy_table(records))
    assert [row[: len(rows[0])] for row in rows_of(text, "LARE")] == rows
    assert ("shots" in text, "imbalance" in text) == (field == "shots", field == "imbalance")


def test_the_reached_ratio_is_that_of_the_split(tmp_path):
    words = ("--trainer", "ZeroShot", "--seed", 0, "--root", write_embeddings(tmp_path / "data.safetensors"))
    keys = ("DATASET.NAME", "EmbeddingFile", "DATASET.LONG_TAIL.RATIO", 100, "DATASET.LONG_TAIL.MIN_IMAGES", 3)
    assert run_train(*words, "--output-dir", tmp_path / "run", *keys) == 0
    run = read_record(tmp_path / "run" / "record.json")
    missing = changed(run, trainer="LARE", imbalance=50.0)
    text = text_of(terminal.accuracy_table([run], [run, missing]))
    # Eight images in the largest class, three in the smallest.
    assert [row[:3] for row in rows_of(text, "ZeroShot")] == [["100", "2.67", "ZeroShot"]]
    assert [row[:3] for row in rows_of(text, "LARE")] == [["50", "", "LARE"]]
    # Without the split nobody knows; the accuracies still stand.
    split = tmp_path / "run" / "split.json"
    for damaged in (split.read_text().replace("2.66", "3.66"), '{"reached'):
        split.write_text(damaged)
        text = text_of(terminal.accuracy_table([run], [run, missing]))
        assert [row[:3] for row in rows_of(text, "ZeroShot")] == [["100", "", "ZeroShot"]]


def test_settings_that_tell_methods_apart_are_never_cut_off():
    runs = [record("LARE", 0, settings={"OPTIM.WEIGHT_DECAY_OF_THE_NETWORK": decay}) for decay in (0.1, 0.2)]
    lines = text_of(terminal.accuracy_table(runs), width=60).splitlines()
    names = "".join(cells_of(line)[0] for line in lines if line.startswith("│"))
    expected = "".join(f"LARE (WEIGHT_DECAY_OF_THE_NETWORK={decay})" for decay in (0.1, 0.2))
    assert names.replace(" ", "") == expected.replace(" ", "")


def test_several_datasets_have_a_column_and_no_domains_that_they_do_not_share():
    text = text_of(terminal.accuracy_table([*LARE, record("LARE", 0, dataset="Other", target_domains=["neon"])]))
    assert [row[0] for row in rows_of(text, "LARE")] == ["DemoWorld", "Other"]
    assert "in-domain, % (photo)" in text
    assert "out-of-domain, % (target domains)" in text


def test_the_table_of_domains_has_a_row_for_each():
    values = {"ZeroShot": (50.0, 50.0), "LARE": (60.0, 62.0)}
    records = [
        record(trainer, seed, domain_accuracy={"photo": 1.0, "painting": value})
        for trainer, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    lines = text_of(terminal.domain_table(records, title="")).splitlines()
    (head,) = [line for line in lines if "domain" in line]
    assert [cell.strip() for cell in head.split("┃")[1:-1]] == ["domain", "ZeroShot", "LARE"]
    cells = [cells_of(line) for line in lines if "│" in line]
    assert cells == [["photo", "1.0 ± 0.0", "1.0 ± 0.0"], ["painting", "50.0 ± 0.0", "61.0 ± 1.4"]]


def test_without_targets_the_column_says_none():
    assert "out-of-domain, % (none)" in text_of(terminal.accuracy_table([record("LARE", 0, target_domains=[])]))
