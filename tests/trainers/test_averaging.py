from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.averaging import WEIGHTS, average
from lare_dassl.methods.shared.linear import text_classifier
from tests.helpers import run_train, shifted_embeddings, write_embeddings
from tests.trainers.interruption import last_state, metrics_of, record_of, train_until

BY_VALIDATION = ("CLASSIFIER.AVERAGE", "val")


def zero_shot_of(trainer):
    return text_classifier(trainer.embeddings.class_text, trainer.embeddings.vlm.logit_scale)


def correct(classifier, rows):
    return int((classifier(rows.embedding).argmax(dim=1) == rows.label).sum())


def scores(trainer, trained, rows):
    """Number of rows that each average classifies correctly."""
    return {weight: correct(average(trained, zero_shot_of(trainer), weight), rows) for weight in WEIGHTS}


def trained_classifier(trainer, folder):
    """The classifier of the last checkpoint: trained, not averaged."""
    classifier = zero_shot_of(trainer)
    classifier.load_state_dict(last_state(folder)["state_dict"])
    return classifier


@pytest.fixture
def misleading_file(tmp_path):
    """Test rows with the labels that the zero-shot classifier gives, so that the test would choose weight 0."""
    embeddings = shifted_embeddings()
    text = embeddings.class_text.roll(1, dims=0)
    said = (embeddings.test.embedding @ text.T).argmax(dim=1)
    changed = replace(embeddings, class_text=text, test=replace(embeddings.test, label=said))
    return write_embeddings(tmp_path / "misleading.safetensors", changed)


def test_the_weight_is_chosen_on_validation_rows_alone(build, misleading_file, tmp_path):
    trainer = build("FineTune", "run", *BY_VALIDATION, "OPTIM.LR", 3.0, root=misleading_file)
    trainer.train()
    trained = trained_classifier(trainer, tmp_path / "run")
    on_val = scores(trainer, trained, trainer.embeddings.val)
    on_test = scores(trainer, trained, trainer.embeddings.test)
    weight = record_of(tmp_path / "run")["chosen"]["CLASSIFIER.AVERAGE"]
    assert weight == max(WEIGHTS, key=lambda tried: (on_val[tried], tried))
    assert on_test[0.0] == 60 > on_test[weight]
    assert trainer.results["accuracy"] == pytest.approx(100 * on_test[weight] / 60)


@pytest.mark.parametrize("name", ["FineTune", "LARE", "GaussianNoise"])
def test_a_given_weight_is_taken(build, tmp_path, name):
    trainer = build(name, "run", "CLASSIFIER.AVERAGE", "0.3")
    trainer.train()
    expected = average(trained_classifier(trainer, tmp_path / "run"), zero_shot_of(trainer), 0.3)
    assert torch.equal(trainer.model.weight, expected.weight)
    assert torch.equal(trainer.model.bias, expected.bias)
    assert torch.equal(load_file(tmp_path / "run" / "classifier.safetensors")["weight"], expected.weight)
    assert trainer.results["accuracy"] == pytest.approx(100 * correct(expected, trainer.embeddings.test) / 60)
    assert record_of(tmp_path / "run")["chosen"] == {}


def test_the_ends_are_the_zero_shot_and_the_trained_classifier(build, tmp_path):
    for name, folder, words in (
        ("ZeroShot", "zero", ()),
        ("FineTune", "probe", ()),
        ("FineTune", "at0", ("CLASSIFIER.AVERAGE", "0")),
        ("FineTune", "at1", ("CLASSIFIER.AVERAGE", "1")),
    ):
        build(name, folder, *words).train()
    assert metrics_of(tmp_path / "at0") == metrics_of(tmp_path / "zero")
    assert metrics_of(tmp_path / "at1") == metrics_of(tmp_path / "probe") != metrics_of(tmp_path / "zero")


def test_an_average_of_the_zero_shot_classifier_is_itself(build, tmp_path):
    build("ZeroShot", "plain").train()
    build("ZeroShot", "averaged", *BY_VALIDATION).train()
    assert metrics_of(tmp_path / "plain") == metrics_of(tmp_path / "averaged")


@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_resumed_or_tested_again_the_numbers_are_the_same(build, tmp_path, final):
    words = ("CLASSIFIER.AVERAGE", "0.3", "TRAIN.CHECKPOINT_FREQ", 2, "TEST.FINAL_MODEL", final)
    build("FineTune", "straight", *words).train()
    train_until(build("FineTune", "killed", *words), epochs=5)
    build("FineTune", "killed", *words).train()
    again = build("FineTune", "killed", *words)
    again.train()
    assert metrics_of(tmp_path / "killed") == metrics_of(tmp_path / "straight")
    tester = build("FineTune", "test", *words)
    for _ in range(2):
        tester.load_model(str(tmp_path / "straight"))
        tester.test()
        assert torch.equal(tester.model.weight, again.model.weight)
    assert tester.results == again.results


def test_best_val_goes_by_the_trained_classifier(build, tmp_path):
    """Which epoch is kept, and what is kept of it, does not depend on the average."""
    words = ("TEST.FINAL_MODEL", "best_val")
    plain, averaged = build("FineTune", "plain", *words), build("FineTune", "averaged", *words, *BY_VALIDATION)
    plain.train()
    averaged.train()
    assert plain.best_result == averaged.best_result
    assert plain.epoch == averaged.epoch


def test_a_trained_model_is_tested_with_another_weight(embedding_file, tmp_path):
    words = ("--trainer", "FineTune", "--root", embedding_file, "--seed", 1)
    settings = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 6)
    for folder, weight in (("plain", "1.0"), ("zero", "0.0")):
        assert run_train(*words, "--output-dir", tmp_path / folder, *settings, "CLASSIFIER.AVERAGE", weight) == 0
    flags = ("--eval-only", "--model-dir", tmp_path / "plain", "--output-dir", tmp_path / "tested")
    assert run_train(*words, *flags, *settings, "CLASSIFIER.AVERAGE", "0.0") == 0
    assert metrics_of(tmp_path / "tested") == metrics_of(tmp_path / "zero") != metrics_of(tmp_path / "plain")


def test_without_validation_rows_the_weight_must_be_given(build, tmp_path):
    root = write_embeddings(tmp_path / "plain.safetensors", shifted_embeddings(with_val=False))
    with pytest.raises(InputError) as error:
        build("FineTune", "run", *BY_VALIDATION, root=root)
    expected = "CLASSIFIER.AVERAGE val needs a validation split, which this dataset lacks: give a weight in [0, 1]"
    assert str(error.value) == expected
    build("FineTune", "run", "CLASSIFIER.AVERAGE", "0.5", root=root).train()
