from __future__ import annotations

import re

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.report.figures import drawings
from lare_dassl.report.figures.drawings import all_drawings, file_stems
from lare_dassl.report.runs import compared_runs as choosing
from lare_dassl.report.runs.compared_runs import compared_runs
from lare_dassl.report.runs.results import results_of
from tests.report.making import collection_of, predictions, record

SAMPLES = "TRAINER.LARE.SAMPLES_PER_IMAGE"
# Of cat and dog, first on photo and then on painting, the target domain. FineTune gains on photo alone.
LABEL = [0, 0, 1, 1]
PREDICTED = {"LARE": [1, 0, 1, 1], "FineTune": [0, 1, 1, 1]}
CONFIDENCE = {"LARE": 0.75, "FineTune": 0.5}


@pytest.fixture(autouse=True)
def read(monkeypatch):
    """Predictions of every run, which know their folder."""

    def read_predictions(run):
        trainer = run.record.trainer
        rows = predictions(LABEL, PREDICTED.get(trainer, LABEL), [CONFIDENCE.get(trainer, 1.0)] * 4)
        object.__setattr__(rows, "folder", run.folder)
        return rows

    for module in (choosing, drawings):
        monkeypatch.setattr(module, "read_predictions", read_predictions)


def folders(compared):
    return [[str(rows.folder) for rows in method] for method in (compared.first, compared.second)]


def drawn(*records, baseline="FineTune", **attributes):
    """The drawings by their stems, and the notes."""
    made, missing = all_drawings(results_of(collection_of(*records, **attributes), baseline))
    assert all(drawing.alt and drawing.caption for drawing in made)
    return {drawing.stem: drawing for drawing in made}, missing


def test_the_most_shots_and_the_least_imbalance_are_compared():
    settings = [(4, 1.0), (16, 1.0), (-1, 10.0)]
    pairs = [(trainer, shots, ratio) for shots, ratio in settings for trainer in ("LARE", "FineTune")]
    records = [record(trainer, 0, shots=shots, imbalance=ratio) for trainer, shots, ratio in pairs]
    # LARE alone has run on all images.
    compared = compared_runs(results_of(collection_of(*records, record("LARE", 0)), "FineTune"), "DemoWorld")
    assert folders(compared) == [["run2"], ["run3"]]
    assert compared.setting == "DemoWorld (16 shots)" and compared.names == ("LARE", "FineTune")
    assert (compared.images, compared.targets) == ("test images", ("painting",))


def test_the_pairs_are_those_of_the_differences():
    def run(trainer, seed, init, **changes):
        return record(trainer, seed, settings={"CLASSIFIER.INIT": init}, **changes)

    runs = [run("LARE", 0, "text"), run("LARE", 1, "random"), run("LARE", 0, "random")]
    # As of the trainer FineTune: a variant with the settings of LARE, and not on another split.
    runs += [run("FineTune", seed, "random") for seed in (1, 0, 2)] + [run("FineTune", 0, "text", split="val")]
    results = results_of(collection_of(*runs), "FineTune")
    compared = compared_runs(results, "DemoWorld")
    assert folders(compared) == [["run2", "run1"], ["run4", "run3"]]
    assert compared.names == ("LARE (INIT=random)", "FineTune (INIT=random)")
    assert [(pair.run.number, pair.partner.number) for pair in results.differences.pairs] == [(1, 3), (2, 4)]


def test_a_variant_may_be_the_baseline():
    runs = [record("LARE", seed, settings={SAMPLES: samples}) for samples in (4, 16) for seed in (0, 1)]
    results = results_of(collection_of(*runs), "LARE (SAMPLES_PER_IMAGE=4)")
    assert folders(compared_runs(results, "DemoWorld")) == [["run2", "run3"], ["run0", "run1"]]


def test_runs_that_cannot_be_compared_are_told():
    runs = collection_of(record("LARE", 0), record("FineTune", 1))
    with pytest.raises(InputError, match="no run of LARE has one of FineTune to be compared with"):
        compared_runs(results_of(runs, "FineTune"), "DemoWorld")
    with pytest.raises(InputError, match="it needs runs of FineTune to compare LARE with"):
        compared_runs(results_of(runs), "DemoWorld")


def test_figures_that_the_runs_do_not_allow_are_told():
    made, missing = drawn(
        *(record(trainer, 0, shots=shots) for trainer in ("LARE", "FineTune") for shots in (1, 4)),
        record("LARE", 0, dataset="Other"),
    )
    assert list(made) == [
        "demoworld_shots_in_domain_accuracy",
        "demoworld_shots_out_of_domain_accuracy",
        "demoworld_domains",
        "demoworld_gain",
        "demoworld_reliability_lare",
        "demoworld_reliability_finetune",
        "other_domains",
        "other_reliability_lare",
    ]
    assert [line.split(":")[0] for line in missing] == [
        "DemoWorld, in-domain accuracy against imbalance",
        "DemoWorld, out-of-domain accuracy against imbalance",
        "Other, in-domain accuracy against shots",
        "Other, out-of-domain accuracy against shots",
        "Other, in-domain accuracy against imbalance",
        "Other, out-of-domain accuracy against imbalance",
        "Other, gain by class",
        "Other, reliability of FineTune",
    ]
    assert missing[-1].endswith("not drawn, as there is no run of FineTune")


def test_without_a_baseline_reliability_is_drawn_and_the_gain_told_of():
    made, missing = drawn(record("LARE", 3), record("LARE", 1), record("LARE", 0, shots=4), baseline="")
    assert "demoworld_gain" not in made
    assert "on all test images of DemoWorld (all shots), seed 1" in made["demoworld_reliability_lare"].caption
    assert missing[-1] == "DemoWorld, gain by class: not drawn, as it needs runs of FineTune to compare LARE with"


def test_the_gain_is_that_on_the_target_domains():
    made, _ = drawn(record("LARE", 0), record("FineTune", 0))
    axes = made["demoworld_gain"].figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.0, 100.0]
    said = "DemoWorld (all shots), in percentage points from unrounded values, mean of 1 seed."
    assert f"on the target domains of {said}" in made["demoworld_gain"].caption
    whole, _ = drawn(*(record(trainer, 0, target_domains=[]) for trainer in ("LARE", "FineTune")))
    assert [bar.get_width() for bar in whole["demoworld_gain"].figure.axes[0].patches] == [0.0, 0.0]
    assert "on all test images of DemoWorld" in whole["demoworld_gain"].caption


def test_each_reliability_is_that_of_its_method():
    made, _ = drawn(record("LARE", 0), record("FineTune", 0))
    titles = [made[f"demoworld_reliability_{name}"].figure.get_suptitle() for name in ("lare", "finetune")]
    assert titles == ["LARE\ncalibration error (ECE) 0.0 %", "FineTune\ncalibration error (ECE) 25.0 %"]
    caption = made["demoworld_reliability_lare"].caption
    assert "Hollow bins hold fewer than 1 % of the images or fewer than 10" in caption


def test_runs_on_val_have_no_gain_on_domains_that_are_not_in_it(monkeypatch):
    def read_source_rows(run):
        return predictions(LABEL, LABEL).of_domains(["photo"])

    for module in (choosing, drawings):
        monkeypatch.setattr(module, "read_predictions", read_source_rows)
    made, missing = drawn(*(record(trainer, 0, split="val") for trainer in ("LARE", "FineTune")))
    assert "demoworld_gain" not in made
    assert missing[-1].endswith("gain by class: not drawn, as no row of the target domains (painting) was tested on")
    captions = [made[f"demoworld_reliability_{name}"].caption for name in ("lare", "finetune")]
    assert all("on all validation images of DemoWorld" in caption for caption in captions)
    assert "Accuracy of LARE (on val) against" in captions[0]
    assert not any("test images" in drawing.caption + drawing.alt for drawing in made.values())


def test_a_domain_that_the_predictions_do_not_know_is_told():
    made, missing = drawn(*(record(trainer, 0, target_domains=["neon"]) for trainer in ("LARE", "FineTune")))
    assert "demoworld_gain" not in made
    assert missing[-1].endswith("gain by class: not drawn, as the predictions know no domain neon")


def test_captions_say_how_many_seeds_are_missing():
    planned = [record(trainer, s, shots=n) for trainer in ("LARE", "FineTune") for n in (1, 4) for s in (0, 1, 2)]
    made, _ = drawn(*planned, planned=planned)
    assert not any("missing" in drawing.caption for drawing in made.values())
    made, _ = drawn(*planned[1:], planned=planned)
    assert "1 seed is missing: a hollow point" in made["demoworld_shots_in_domain_accuracy"].caption
    done = [planned[0], *planned[3:9]]
    made, _ = drawn(*done, planned=planned)
    curve, scatter = made["demoworld_shots_out_of_domain_accuracy"], made["demoworld_domains"]
    for text in (curve.caption, curve.alt, scatter.caption, scatter.alt):
        assert re.search(r" 5 seeds are missing: a hollow point is of fewer than expected", text)


def test_a_metric_that_does_not_apply_lacks_no_seed():
    records = [record("LARE", 0, shots=shots) for shots in (1, 4)]
    records += [record("FineTune", 0, shots=shots, out_of_domain_accuracy=None) for shots in (1, 4)]
    made, _ = drawn(*records, planned=records)
    assert "missing" not in made["demoworld_shots_out_of_domain_accuracy"].caption


def test_names_of_files_are_of_plain_letters_and_none_is_used_twice():
    names = ["日本", "中国", "A B", "A-B", "pacs", "PACS", "DemoWorld", "a" * 300]
    stems = file_stems(names)
    assert stems["DemoWorld"] == "demoworld"
    assert all(re.fullmatch(r"[a-z0-9_-]{1,70}", stem) for stem in stems.values())
    assert len(set(stems.values())) == len(names)
    assert file_stems(["A B"])["A B"] == stems["A B"] != "a-b"
    records = [record("LARE", 0, dataset=name) for name in ("日本", "中国", "pacs", "PACS")]
    made, _ = all_drawings(results_of(collection_of(*records)))
    assert len({drawing.stem for drawing in made}) == len(made) == 8


def test_what_is_drawn_takes_the_runs_of_its_own_dataset():
    records = [record("LARE", 0, dataset="A"), record("FineTune", 0, dataset="A"), record("LARE", 0, dataset="B")]
    results = results_of(collection_of(*records), "FineTune")
    assert folders(compared_runs(results, "A")) == [["run0"], ["run1"]]
    with pytest.raises(InputError, match="no run of LARE has one of FineTune"):
        compared_runs(results, "B")
    assert torch.equal(compared_runs(results, "A").first[0].predicted, torch.tensor(PREDICTED["LARE"]))
