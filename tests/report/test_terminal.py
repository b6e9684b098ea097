from __future__ import annotations

import pandas as pd
import pytest
from rich.console import Console

from lare_dassl.report import terminal
from lare_dassl.results.record import read_record
from tests.helpers import run_train, write_embeddings

QUICK = ["DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", "3", "TRAINER.LARE.EPOCHS", "2"]


@pytest.fixture
def records(tmp_path):
    file = str(write_embeddings(tmp_path / "data.safetensors"))
    return [trained(tmp_path / "run", trainer, seed, file) for trainer in ("ZeroShot", "LARE") for seed in (0, 1)]


def trained(folder, trainer, seed, file, *keys):
    words = ("--trainer", trainer, "--seed", seed, "--root", file, "--output-dir", folder / trainer / str(seed))
    assert run_train(*words, *QUICK, *keys) == 0
    return read_record(folder / trainer / str(seed) / "record.json")


def text_of(table):
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def rows_of(text, method):
    return [cells_of(line) for line in text.splitlines() if method in line]


def in_domain(records):
    values = pd.Series([record["metrics"]["in_domain_accuracy"] for record in records])
    return f"{values.mean():.1f} ± {values.std():.1f}"


def with_out_of_domain(records, values):
    return [
        record | {"metrics": record["metrics"] | {"out_of_domain_accuracy": value}}
        for record, value in zip(records, values, strict=True)
    ]


def cells_of(line):
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_the_table_has_a_row_for_each_method_with_mean_std_and_seeds(records):
    records = with_out_of_domain(records, (50.0, 50.0, 60.0, 62.0))
    text = text_of(terminal.accuracy_table(records, title="Comparison"))
    assert "60.0" not in text
    assert rows_of(text, "LARE") == [["LARE", in_domain(records[2:]), "61.0 ± 1.4", "2"]]


def test_missing_runs_are_counted_and_a_method_without_any_has_a_row(records):
    done = with_out_of_domain(records, (50.0, 50.0, 60.0, 62.0))[:3]
    text = text_of(terminal.accuracy_table(done, records))
    assert [row[2:] for row in rows_of(text, "LARE")] == [["60.0", "1 of 2, 1 missing"]]
    text = text_of(terminal.accuracy_table(done[:2], records))
    assert rows_of(text, "ZeroShot")[0][3] == "2"
    assert rows_of(text, "LARE") == [["LARE", "–", "–", "0 of 2, 2 missing"]]


def test_shots_and_imbalance_have_columns_where_they_differ_from_the_usual(records):
    shots = [record | {"shots": shots} for record, shots in zip(records, (-1, 4, -1, 4), strict=True)]
    text = text_of(terminal.accuracy_table(shots))
    assert [row[:2] for row in rows_of(text, "LARE")] == [["4", "LARE"], ["all", "LARE"]]
    assert "imbalance" not in text

    ratios = [record | {"imbalance": ratio} for record, ratio in zip(records, (1.0, 50.0, 1.0, 50.0), strict=True)]
    text = text_of(terminal.accuracy_table(ratios))
    assert [row[:3] for row in rows_of(text, "LARE")] == [["1", "1", "LARE"], ["50", "1", "LARE"]]
    assert "shots" not in text


def test_the_reached_ratio_is_that_of_the_split(tmp_path):
    file = str(write_embeddings(tmp_path / "data.safetensors"))
    tail = ["DATASET.LONG_TAIL.RATIO", "100", "DATASET.LONG_TAIL.MIN_IMAGES", "3"]
    record = trained(tmp_path / "run", "ZeroShot", 0, file, *tail)
    missing = record | {"trainer": "LARE", "imbalance": 50.0}
    text = text_of(terminal.accuracy_table([record], [record, missing]))
    # Eight images in the largest class, three in the smallest.
    assert [row[:3] for row in rows_of(text, "ZeroShot")] == [["100", "2.67", "ZeroShot"]]
    assert [row[:3] for row in rows_of(text, "LARE")] == [["50", "", "LARE"]]
    # Without the split nobody knows; the accuracies still stand.
    split = tmp_path / "run" / "ZeroShot" / "0" / "split.json"
    for damaged in (split.read_text().replace("2.66", "3.66"), '{"reached'):
        split.write_text(damaged)
        text = text_of(terminal.accuracy_table([record], [record, missing]))
        assert [row[:3] for row in rows_of(text, "ZeroShot")] == [["100", "", "ZeroShot"]]


def test_settings_that_tell_methods_apart_are_never_cut_off(records):
    runs = [
        record | {"config": record["config"] | {"OPTIM": record["config"]["OPTIM"] | {"WEIGHT_DECAY": decay}}}
        for record, decay in zip(records, (0.1, 0.2, 0.1, 0.2), strict=True)
    ]
    console = Console(width=60)
    with console.capture() as captured:
        console.print(terminal.accuracy_table(runs))
    lines = [cells_of(line)[0] for line in captured.get().splitlines() if line.startswith("│")]
    assert "LARE (OPTIM.WEIGHT_DECAY=0.1)LARE (OPTIM.WEIGHT_DECAY=0.2)" in "".join(lines).replace(" (", "(").replace(
        "LARE(", "LARE ("
    )


def test_several_datasets_have_a_column_and_no_domains_that_they_do_not_share(records):
    other = [record | {"dataset": "Other", "target_domains": ["neon"]} for record in records]
    text = text_of(terminal.accuracy_table([*records, *other]))
    assert sorted(row[0] for row in rows_of(text, "LARE")) == ["Other", "data"]
    assert "in-domain, % (photo)" in text
    assert "out-of-domain, % (target domains)" in text


def test_the_table_of_domains_has_a_row_for_each(records):
    for record, value in zip(records, (50.0, 50.0, 60.0, 62.0), strict=True):
        record["metrics"]["domain_accuracy"] |= {"sketch": value}
    lines = text_of(terminal.domain_table(records, title="")).splitlines()
    (head,) = [line for line in lines if "domain" in line]
    assert [cell.strip() for cell in head.split("┃")[1:-1]] == ["domain", "ZeroShot", "LARE"]
    cells = [cells_of(line) for line in lines if "│" in line]
    assert [row[0] for row in cells] == ["photo", "painting", "sketch"]
    assert cells[2] == ["sketch", "50.0 ± 0.0", "61.0 ± 1.4"]


def test_without_targets_the_column_says_none(records):
    records = [record | {"target_domains": []} for record in records]
    assert "out-of-domain, % (none)" in text_of(terminal.accuracy_table(records, title=""))
