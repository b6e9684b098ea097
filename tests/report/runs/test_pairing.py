from __future__ import annotations

import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.runs.pairing import pair_runs
from tests.report.making import record

INIT, SAMPLES = "CLASSIFIER.INIT", "TRAINER.LARE.SAMPLES_PER_IMAGE"
CELL = "on DemoWorld, shots all, imbalance 1, seed 0:"


def vlm(model, weights):
    return {"vlm": {"model": model, "weights_sha256": weights}}


def paired(records, baseline="FineTune", planned=()):
    """The numbers of the two runs of each pair, and the lines on the others."""
    pairs, refused = pair_runs(records, baseline, planned)
    return [(pair.run.number, pair.partner.number) for pair in pairs], refused


def test_only_runs_of_the_same_cell_and_seed_are_compared():
    records = [
        *(record("FineTune", seed, shots=4) for seed in (0, 1)),
        record("FineTune", 0, shots=1),
        record("FineTune", 0, shots=4, imbalance=10.0),
        record("FineTune", 0, shots=4, dataset="A"),
        *(record("LARE", seed, shots=4) for seed in (2, 0, 1)),
    ]
    line = "LARE on DemoWorld, shots 4, imbalance 1, seed 2: no run of FineTune to compare it with"
    assert paired(records) == ([(6, 0), (7, 1)], [line])


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ({"split_sha256": "aa"}, {"split_sha256": "bb"}, "its split is not that of FineTune"),
        ({}, {"split": "val"}, "it is tested on test, and FineTune on val"),
        (vlm("B", "bb"), vlm("A", "aa"), "its frozen model is B, and that of FineTune is A"),
        (vlm("B", None), vlm("A", None), "its frozen model is B, and that of FineTune is A"),
        (vlm("A", "bb"), vlm("A", "aa"), "the weights of its frozen model are not those of FineTune"),
        (vlm("A", "aa"), vlm("A", "aa"), ""),
        # An image trainer does not know the weights, and names the model otherwise.
        (vlm("ViT-B/32", None), vlm("ViT-B-32", "aa"), ""),
    ],
)
def test_a_run_on_other_data_or_another_model_is_not_compared(own, other, reason):
    records = [record("ZeroShot", 0, **own), record("FineTune", 0, **other)]
    expected = ([], [f"ZeroShot {CELL} {reason}"]) if reason else ([(0, 1)], [])
    assert paired(records) == paired(records, planned=records) == expected


def test_of_several_baselines_the_one_on_the_same_data_and_model_is_compared():
    models = [record("FineTune", 0, settings={"VLM.MODEL": name}, **vlm(name, name * 2)) for name in "AB"]
    models.append(record("LARE", 0, settings={"VLM.MODEL": "B"}, **vlm("B", "BB")))
    assert paired(models) == ([(2, 1)], [])
    splits = [record(trainer, 0, split=split) for trainer in ("FineTune", "LARE") for split in ("val", "test")]
    assert paired(splits) == ([(2, 0), (3, 1)], [])
    weights = (("FineTune", "aa"), ("FineTune", "bb"), ("LARE", "bb"), ("LARE", "cc"))
    reason = "the weights of its frozen model are not those of FineTune (weights=aa)"
    records = [record(trainer, 0, **vlm("A", digest)) for trainer, digest in weights]
    assert paired(records) == ([(2, 1)], [f"LARE (weights=cc) {CELL} {reason}"])


def test_a_trainer_as_baseline_stands_for_its_run_with_the_same_settings():
    records = [record("FineTune", 0, settings={INIT: name}) for name in ("random", "text")]
    records += [
        record("LARE", 0, settings={INIT: name, SAMPLES: samples}) for name in ("random", "text") for samples in (1, 4)
    ]
    assert paired(records) == ([(2, 0), (3, 0), (4, 1), (5, 1)], [])


def test_a_method_with_its_settings_as_baseline_is_compared_with_all_others():
    records = [record("LARE", 0, settings={SAMPLES: samples}) for samples in (1, 4)] + [record("FineTune", 0)]
    assert paired(records, "LARE (SAMPLES_PER_IMAGE=1)") == ([(1, 0), (2, 0)], [])
    assert paired(records, "LARE") == ([], [f"FineTune {CELL} 2 runs of LARE to compare it with"])


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("LARRE", r"^unknown baseline 'LARRE': did you mean 'LARE'\? methods of these runs: LARE$"),
        ("Nope", r"^unknown baseline 'Nope': methods of these runs: LARE$"),
        (
            "LARE (SAMPLES_PER_IMAGES=3)",
            r"did you mean 'LARE \(SAMPLES_PER_IMAGE=\d+\)'\? methods of these runs: LARE$",
        ),
    ],
)
def test_an_unknown_baseline_is_refused_with_the_nearest_and_the_methods(baseline, message):
    with pytest.raises(InputError, match=message):
        paired([record("LARE", 0, settings={SAMPLES: samples}) for samples in range(30)], baseline)


def test_of_many_methods_the_refusal_names_the_first():
    with pytest.raises(InputError, match=r"Method00, .*Method11 and 3 more$"):
        paired([record(f"Method{number:02}", 0) for number in range(15)], "Nope")
