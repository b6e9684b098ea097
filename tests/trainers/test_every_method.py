"""Behaviour that all methods share: they go on after a kill, are tested again, and depend on their seed alone."""

from __future__ import annotations

import logging

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.linear import random_classifier
from lare_dassl.results.classifier_file import FILE_NAME, read_classifier
from lare_dassl.trainers.base.description import LAST, LINEAR_HEADS, described
from tests.trainers.interruption import last_state, metrics_of, record_of, train_until

METHODS = [method for method in described() if method.place < LAST]
TRAINED = [method for method in METHODS if method.trains]
SAMPLES = "SAMPLES_PER_IMAGE"


def each(methods):
    return pytest.mark.parametrize("method", methods, ids=lambda method: method.name)


@pytest.fixture
def build_any(build, described_file):
    """`build_any(method, run folder, KEY, VALUE, ...)`, on a file that has all that any method needs."""

    def build_method(method, folder, *overrides, **flags):
        return build(method.name, folder, "VLM.ALLOW_RANDOM", True, *overrides, root=described_file, **flags)

    return build_method


@each(TRAINED)
def test_a_killed_run_goes_on_to_the_same_numbers(build_any, tmp_path, method):
    words = ("TRAIN.CHECKPOINT_FREQ", 2, "TEST.FINAL_MODEL", "best_val")
    build_any(method, "straight", *words).train()
    train_until(build_any(method, "killed", *words), epochs=3)
    build_any(method, "killed", *words).train()
    first, second = (last_state(tmp_path / folder)["state_dict"] for folder in ("straight", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "killed")
    assert record_of(tmp_path / "straight")["chosen"] == record_of(tmp_path / "killed")["chosen"]


@each(METHODS)
def test_a_trained_model_is_tested_again(build_any, tmp_path, method):
    trained = build_any(method, "run")
    trained.train()
    tester, rows = build_any(method, "eval"), trained.embeddings.test.embedding
    for _ in range(2):
        tester.load_model(str(tmp_path / "run"))
        assert tester.test() == trained.results["accuracy"]
    tester.check_loaded_settings()
    tester.write_record(tmp_path / "eval")
    assert torch.equal(read_classifier(tmp_path / "run" / FILE_NAME).module(rows), trained.model(rows))
    first, second = record_of(tmp_path / "run"), record_of(tmp_path / "eval")
    assert (first["metrics"], first["chosen"]) == (second["metrics"], second["chosen"])
    assert set(first["config"]["TRAINER"]) == {"NAME", *(key.split(".")[1] for key in method.own_keys())}


@each(METHODS)
def test_the_global_random_state_has_no_influence_at_the_start(build_any, method):
    first = build_any(method, "first").model.state_dict()
    torch.manual_seed(99)
    second = build_any(method, "second").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


@each([method for method in TRAINED if "CLASSIFIER.INIT" not in method.ignores])
def test_the_classifier_starts_at_random_or_at_the_texts(build_any, method):
    random, text = build_any(method, "random"), build_any(method, "text", "CLASSIFIER.INIT", "text")
    assert torch.equal(random.model.weight, random_classifier(32, 5, seed=0).weight)
    torch.testing.assert_close(text.model.weight, 50.0 * text.embeddings.class_text)
    assert torch.equal(text.model.bias, torch.zeros(5))


@each([method for method in METHODS if f"{method.section}.{SAMPLES}" in method.own_keys()])
def test_added_embeddings_are_all_that_differs_from_a_probe(build, build_any, described_file, tmp_path, method):
    build("FineTune", "probe", root=described_file).train()
    for samples in (0, 1, 3):
        trainer = build_any(method, f"with{samples}", f"{method.section}.{SAMPLES}", samples)
        trainer.train()
        for batch in trainer.train_loader_x:
            real = len(batch) // (1 + samples)
            assert batch.sampled.tolist() == [False] * real + [True] * (samples * real)
            assert torch.equal(batch.label, batch.label[:real].repeat(1 + samples))
            torch.testing.assert_close(batch.embedding.norm(dim=1), torch.ones(len(batch)))
    probe, without, mixed = (last_state(tmp_path / name)["state_dict"] for name in ("probe", "with0", "with1"))
    assert torch.equal(without["weight"], probe["weight"]) and torch.equal(without["bias"], probe["bias"])
    assert not torch.equal(mixed["weight"], probe["weight"])


@each([method for method in METHODS if "CLASSIFIER.INIT" in method.ignores])
def test_a_start_of_the_classifier_that_is_ignored_is_named(build_any, caplog, method):
    with caplog.at_level(logging.WARNING, "lare_dassl"):
        build_any(method, "run", "CLASSIFIER.INIT", "text")
    (line,) = [line for line in caplog.messages if line.startswith("set, but read by nothing")]
    assert "CLASSIFIER.INIT" in line


@each([method for method in METHODS if method.head not in LINEAR_HEADS])
def test_a_classifier_that_is_not_linear_is_not_averaged(build_any, method):
    with pytest.raises(InputError, match=f"AVERAGE 0.5 needs a linear classifier, which {method.name} has not"):
        build_any(method, "run", "CLASSIFIER.AVERAGE", "0.5")


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("LARE", "TRAINER.LARE.ALPHA", 1.5, r"must lie in \[0, 1\], not 1.5"),
        ("LARE", "TRAINER.LARE.SAMPLES_PER_IMAGE", -1, "must be at least 0, not -1"),
        ("RegionCentre", "TRAINER.LARE.ALPHA", 2, r"must lie in \[0, 1\], not 2"),
        ("LADS", "TRAINER.LADS.ALPHA", 1.5, r"must lie in \[0, 1\], not 1.5"),
        ("LADS", "TRAINER.LADS.LOGIT_SCALE", -1, "must be at least 0, not -1"),
        ("CLIPAdapter", "TRAINER.CLIPADAPTER.RATIO", 1.5, r"must lie in \[0, 1\], not 1.5"),
        ("CLIPAdapter", "TRAINER.CLIPADAPTER.REDUCTION", 0, "must be at least 1, not 0"),
        ("TipAdapter", "TRAINER.TIPADAPTER.BETA", -1, "must be at least 0, not -1"),
        ("TipAdapterF", "TRAINER.TIPADAPTER.ALPHA", -1, "must be at least 0, not -1"),
        ("GaussianNoise", "TRAINER.GAUSSIANNOISE.SIGMA", -1, "must be at least 0"),
        ("TextInterpolation", "TRAINER.TEXTINTERPOLATION.SAMPLES_PER_IMAGE", -1, "must be at least 0, not -1"),
    ],
)
def test_settings_out_of_range_are_refused(build, name, key, value, message):
    with pytest.raises(InputError, match=f"{key} {message}"):
        build(name, "run", key, value)
