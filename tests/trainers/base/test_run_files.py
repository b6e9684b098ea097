"""What a finished run leaves beside its record: split, predictions and classifier."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

import lare_dassl
from lare_dassl import LabelledEmbeddings
from lare_dassl.io.tensors import read_tensors
from lare_dassl.methods.shared.calibration import fit_temperature
from lare_dassl.results.metrics import expected_calibration_error
from lare_dassl.results.predictions import read_predictions
from lare_dassl.trainers.base import run_files
from tests.helpers import CLASSNAMES, shifted_embeddings, write_embeddings
from tests.trainers.interruption import record_of


def other_test_rows(embeddings):
    """The same set, but for its test rows: labels and embeddings are others."""
    rows = embeddings.test
    label = (rows.label + 1) % len(CLASSNAMES)
    return replace(embeddings, test=LabelledEmbeddings(rows.embedding.flip(1), label, rows.domain))


def test_the_saved_classifier_is_the_one_that_was_tested(build, tmp_path):
    trainer = build("FineTune", "run")
    trainer.train()
    rows = trainer.embeddings.test
    saved = lare_dassl.load_classifier(tmp_path / "run")
    assert torch.equal(saved.logits(rows.embedding), trainer.model(rows.embedding))
    assert saved.classnames == CLASSNAMES
    predicted = read_predictions(tmp_path / "run" / "predictions.safetensors")
    assert torch.equal(predicted.predicted, saved.logits(rows.embedding).argmax(dim=1))
    assert torch.equal(predicted.label, rows.label) and torch.equal(predicted.domain, rows.domain)


def test_the_predictions_give_the_figures_of_the_record(build, tmp_path):
    build("FineTune", "run").train()
    metrics = record_of(tmp_path / "run")["metrics"]
    predictions = read_predictions(tmp_path / "run" / "predictions.safetensors")
    assert 100 * predictions.correct.double().mean().item() == pytest.approx(metrics["accuracy"], abs=1e-9)
    assert expected_calibration_error(predictions.confidence, predictions.correct) == metrics["ece"]
    assert predictions.classnames == CLASSNAMES
    for domain in predictions.domains:
        accuracy = 100 * predictions.of_domains([domain]).correct.double().mean().item()
        assert accuracy == pytest.approx(metrics["domain_accuracy"][domain], abs=1e-9)


def test_the_record_is_written_last_and_names_the_split(build, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_files, "write_record", fail)
    with pytest.raises(KeyboardInterrupt):
        build("FineTune", "run").train()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"split.json", "predictions.safetensors", "classifier.safetensors"} and "record.json" not in names
    monkeypatch.undo()
    build("FineTune", "run").train()
    digest = hashlib.sha256((tmp_path / "run" / "split.json").read_bytes()).hexdigest()
    assert record_of(tmp_path / "run")["split_sha256"] == digest


def test_the_temperature_is_that_of_the_validation_rows(build, tmp_path, caplog):
    trainer = build("FineTune", "run")
    trainer.train()
    val = trainer.embeddings.val
    saved = lare_dassl.load_classifier(tmp_path / "run")
    assert saved.saved.temperature == fit_temperature(trainer.model(val.embedding).detach(), val.label)
    assert (saved.saved.calibration_rows, saved.calibrated) == (20, True)


def test_test_rows_have_no_say_in_the_temperature(build, tmp_path):
    other = write_embeddings(tmp_path / "other.safetensors", other_test_rows(shifted_embeddings()))
    build("FineTune", "one").train()
    build("FineTune", "two", root=other).train()
    assert record_of(tmp_path / "one")["metrics"] != record_of(tmp_path / "two")["metrics"]
    # The order of metadata in a file is no two writings' the same; its hash of all it holds is.
    (_, one), (_, two) = (
        read_tensors(tmp_path / name / "classifier.safetensors", "classifier/1", "") for name in ("one", "two")
    )
    assert one == two and float(one["temperature"]) != 1.0


def test_without_validation_rows_nothing_is_calibrated(build, tmp_path):
    path = write_embeddings(tmp_path / "data.safetensors", shifted_embeddings(with_val=False))
    build("FineTune", "run", root=path).train()
    saved = lare_dassl.load_classifier(tmp_path / "run")
    assert (saved.saved.temperature, saved.saved.calibration_rows, saved.calibrated) == (1.0, 0, False)


def test_a_run_measured_on_validation_rows_predicts_these(build, tmp_path):
    trainer = build("FineTune", "run", "TEST.SPLIT", "val")
    trainer.train()
    predictions = read_predictions(tmp_path / "run" / "predictions.safetensors")
    assert torch.equal(predictions.label, trainer.embeddings.val.label)


def test_a_run_without_test_predicts_nothing(build, tmp_path):
    build("FineTune", "run", "TEST.NO_TEST", True).train()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "classifier.safetensors" in names and "predictions.safetensors" not in names


def test_a_model_that_cannot_be_rebuilt_is_told_of(build, tmp_path, caplog):
    trainer = build("ZeroShot", "run")
    trainer.model = nn.Sequential(nn.Linear(16, 5))
    trainer.test()
    with caplog.at_level(logging.WARNING, "lare_dassl"):
        trainer.write_record(tmp_path / "run")
    assert "classifier.safetensors is not written: a Sequential has no 'kind'" in caplog.text
    assert not (tmp_path / "run" / "classifier.safetensors").exists()
    assert (tmp_path / "run" / "record.json").exists()
