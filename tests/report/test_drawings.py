from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.report import drawings
from lare_dassl.report.collect import Collection, Run
from lare_dassl.report.drawings import all_drawings, compared_runs
from lare_dassl.report.summary import cells
from tests.report.making import predictions, record


@pytest.fixture(autouse=True)
def read(monkeypatch):
    """Predictions of every run, which know their folder."""

    def read_predictions(run):
        rows = predictions([0, 1, 2, 0], [0, 1, 2, 1])
        object.__setattr__(rows, "folder", run.folder)
        return rows

    monkeypatch.setattr(drawings, "read_predictions", read_predictions)


def collection_of(*records):
    runs = tuple(Run(Path(f"run{number}"), content) for number, content in enumerate(records))
    return Collection(Path(), runs, ())


def folders(compared):
    return [[str(rows.folder) for rows in method] for method in (compared.first, compared.second)]


def test_the_most_shots_and_the_least_imbalance_are_compared():
    settings = [(4, 1.0), (16, 1.0), (-1, 10.0)]
    pairs = [(trainer, shots, ratio) for shots, ratio in settings for trainer in ("LARE", "FineTune")]
    records = [record(trainer, 0, shots=shots, imbalance=ratio) for trainer, shots, ratio in pairs]
    # LARE alone has run on all images.
    compared = compared_runs(collection_of(*records, record("LARE", 0)), "DemoWorld", ("LARE", "FineTune"))
    assert folders(compared) == [["run2"], ["run3"]]
    assert compared.setting == "DemoWorld (16 shots)" and compared.names == ("LARE", "FineTune")


def test_runs_are_paired_by_seed_and_variant():
    def run(seed, samples):
        return record("LARE", seed, settings={"TRAINER.LARE.SAMPLES_PER_IMAGE": samples})

    runs = [run(0, 16), run(1, 16), run(1, 4), run(0, 4), record("FineTune", 1), record("FineTune", 0)]
    compared = compared_runs(collection_of(*runs), "DemoWorld", ("LARE", "FineTune"))
    assert folders(compared) == [["run3", "run2"], ["run5", "run4"]]
    assert compared.names == ("LARE (TRAINER.LARE.SAMPLES_PER_IMAGE=4)", "FineTune")
    named = "LARE (TRAINER.LARE.SAMPLES_PER_IMAGE=16)"
    assert folders(compared_runs(collection_of(*runs), "DemoWorld", (named, "LARE"))) == [
        ["run0", "run1"],
        ["run3", "run2"],
    ]


def test_runs_that_cannot_be_compared_are_told():
    runs = collection_of(record("LARE", 0), record("FineTune", 1))
    with pytest.raises(InputError, match="LARE and FineTune have no seed in common"):
        compared_runs(runs, "DemoWorld", ("LARE", "FineTune"))
    with pytest.raises(InputError, match="LARE and LADS have not run on the same setting"):
        compared_runs(runs, "DemoWorld", ("LARE", "LADS"))


def test_figures_that_the_runs_do_not_allow_are_told():
    runs = collection_of(
        *(record(trainer, 0, shots=shots) for trainer in ("LARE", "FineTune") for shots in (1, 4)),
        record("LARE", 0, dataset="Other"),
    )
    made, missing = all_drawings(runs, cells(runs.records), "FineTune")
    assert [drawing.stem for drawing in made] == [
        "demoworld_shots_in_domain_accuracy",
        "demoworld_shots_out_of_domain_accuracy",
        "demoworld_domains",
        "demoworld_gain",
        "demoworld_reliability_lare",
        "demoworld_reliability_finetune",
        "other_domains",
    ]
    assert all(drawing.alt and drawing.caption for drawing in made)
    assert [line.split(":")[0] for line in missing] == [
        "DemoWorld, in-domain accuracy against imbalance",
        "DemoWorld, out-of-domain accuracy against imbalance",
        "Other, in-domain accuracy against shots",
        "Other, out-of-domain accuracy against shots",
        "Other, in-domain accuracy against imbalance",
        "Other, out-of-domain accuracy against imbalance",
        "Other, gain by class",
        "Other, reliability of LARE",
        "Other, reliability of FineTune",
    ]


def test_without_a_baseline_no_pair_is_drawn():
    runs = collection_of(record("LARE", 0))
    made, missing = all_drawings(runs, cells(runs.records), "")
    assert [drawing.stem for drawing in made] == ["demoworld_domains"]
    assert not any("gain by class" in line for line in missing)
