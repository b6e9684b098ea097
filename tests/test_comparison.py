from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from lare_dassl import comparison
from lare_dassl.errors import InputError
from tests.helpers import shifted_embeddings, write_embeddings

QUICK = ["DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", "3", "TRAINER.LARE.EPOCHS", "2"]


@pytest.fixture
def records(tmp_path):
    file = str(write_embeddings(tmp_path / "data.safetensors"))
    return [
        comparison.run_once(trainer, seed, file, tmp_path / "run", settings=QUICK)
        for trainer in ("ZeroShot", "LARE")
        for seed in (0, 1)
    ]


def text_of(table):
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def cells_of(line):
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_a_run_gives_its_own_record_though_the_folder_held_another(records):
    assert [(record["trainer"], record["seed"]) for record in records] == [
        ("ZeroShot", 0),
        ("ZeroShot", 1),
        ("LARE", 0),
        ("LARE", 1),
    ]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert records[2]["config"]["OPTIM"]["MAX_EPOCH"] == 3


def test_the_table_has_a_row_for_each_method_with_mean_std_and_seeds(records):
    records = [record | {"metrics": dict(record["metrics"])} for record in records]
    for record, value in zip(records, (50.0, 50.0, 60.0, 62.0), strict=True):
        record["metrics"]["out_of_domain_accuracy"] = value
    text = text_of(comparison.accuracy_table(records, title="Comparison"))
    assert "60.0" not in text
    (row,) = [line for line in text.splitlines() if "LARE" in line]
    assert "61.0 ± 1.4" in row
    assert cells_of(row)[2:] == ["61.0 ± 1.4", "2"]


def test_shots_and_imbalance_have_columns_where_they_differ_from_the_usual(records):
    shots = [record | {"shots": shots} for record, shots in zip(records, (-1, 4, -1, 4), strict=True)]
    lines = text_of(comparison.accuracy_table(shots, title="")).splitlines()
    assert [cells_of(line)[:2] for line in lines if "LARE" in line] == [["LARE", "all"], ["LARE", "4"]]
    assert "imbalance" not in " ".join(lines)

    ratios = [record | {"imbalance": ratio} for record, ratio in zip(records, (1.0, 50.0, 1.0, 50.0), strict=True)]
    lines = text_of(comparison.accuracy_table(ratios, title="")).splitlines()
    assert [cells_of(line)[:2] for line in lines if "LARE" in line] == [["LARE", "1"], ["LARE", "50"]]
    assert "shots" not in " ".join(lines)
    reached = {(-1, 1.0): 3.5, (-1, 50.0): 15.9996}
    lines = text_of(comparison.accuracy_table(ratios, title="", reached=reached)).splitlines()
    assert [cells_of(line)[1:3] for line in lines if "LARE" in line] == [["1", "3.5"], ["50", "16"]]
    assert "reached" not in text_of(comparison.accuracy_table(records, title="", reached={(-1, 1.0): 3.5}))


def test_the_table_of_domains_has_a_column_for_each(records):
    for record, value in zip(records, (50.0, 50.0, 60.0, 62.0), strict=True):
        record["metrics"]["domain_accuracy"] |= {"sketch": value}
    lines = text_of(comparison.domain_table(records, title="")).splitlines()
    (head,) = [line for line in lines if "method" in line]
    assert [cell.strip() for cell in head.split("┃")[1:-1]] == ["method", "photo", "painting", "sketch"]
    (row,) = [line for line in lines if "LARE" in line]
    assert cells_of(row)[3] == "61.0 ± 1.4"


def test_without_targets_the_column_says_none(records):
    records = [record | {"target_domains": []} for record in records]
    assert "out-of-domain, % (none)" in text_of(comparison.accuracy_table(records, title=""))


def test_no_seed_is_refused(tmp_path):
    with pytest.raises(InputError, match="--seeds must be at least 1, not 0"):
        comparison.compare_on_demo(tmp_path / "demo.yaml", 0, str(tmp_path), tmp_path / "out")


def described_embeddings():
    """Embeddings whose domains are described as LADS needs it: each moves the class texts its own way."""
    plain = shifted_embeddings()
    moves = torch.randn(3, 1, 16, generator=torch.Generator().manual_seed(0))
    described = F.normalize(plain.class_text + 0.5 * F.normalize(moves, dim=-1), dim=-1)
    return replace(plain, domain_text=described, described_domains=plain.domain_names)


def test_the_demo_runs_all_methods_and_seeds(tmp_path, capsys):
    file = write_embeddings(tmp_path / "data.safetensors", described_embeddings())
    config = tmp_path / "small.yaml"
    config.write_text(
        "DATASET: {NAME: EmbeddingFile}\nOPTIM: {MAX_EPOCH: 2}\nTRAINER: {LARE: {EPOCHS: 2}}\n", encoding="utf-8"
    )
    comparison.compare_on_demo(config, 2, str(file), tmp_path / "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("*/*/record.json"))
    methods = ("FineTune", "LADS", "LARE", "ZeroShot")
    assert found == [f"{name}/seed{seed}/record.json" for name in methods for seed in (0, 1)]
    assert f"records: {tmp_path}/out/<method>/seed<k>/record.json" in capsys.readouterr().out
