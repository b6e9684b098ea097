from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lare_dassl.errors import InputError
from lare_dassl.results.metrics import DomainClassification
from lare_dassl.results.predictions import Predictions, read_predictions, write_predictions
from tests.helpers import make_cfg

LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, -3.0], [0.0, 1.0, 5.0], [9.0, 9.0, 9.5]])
LABEL, DOMAIN = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 0])


def test_batches_without_domains_give_no_predictions():
    evaluator = DomainClassification(make_cfg(), {0: "cat"}, ["photo"])
    evaluator.process(torch.ones(2, 1), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(InputError, match="no batch has given its domains"):
        evaluator.predictions()


@pytest.fixture
def predictions():
    evaluator = DomainClassification(make_cfg(), dict(enumerate(["cat", "dog", "owl"])), ["photo", "sketch"])
    for rows in (slice(0, 3), slice(3, 4)):
        evaluator.process(LOGITS[rows], LABEL[rows], DOMAIN[rows])
    return evaluator.predictions()


def test_it_predicts_the_highest_logit_with_its_probability(predictions):
    assert predictions.predicted.tolist() == [0, 0, 2, 2]
    odds = LOGITS.double().exp()
    expected = odds.amax(dim=1) / odds.sum(dim=1)
    torch.testing.assert_close(predictions.confidence.double(), expected, rtol=0, atol=1e-6)
    assert predictions.correct.tolist() == [True, False, True, False]
    assert len(predictions) == 4


def test_rows_of_some_domains(predictions):
    part = predictions.of_domains(["sketch"])
    assert (part.label.tolist(), part.predicted.tolist(), part.domain.tolist()) == ([1, 2], [0, 2], [1, 1])
    assert torch.equal(part.confidence, predictions.confidence[1:3])
    assert part.domains == ("photo", "sketch")
    assert len(predictions.of_domains(["photo", "sketch"])) == 4


def test_they_come_back_as_they_were_written(tmp_path, predictions):
    digest = write_predictions(tmp_path / "run", predictions, "test")
    path = tmp_path / "run" / "predictions.safetensors"
    back = read_predictions(path)
    for name in ("label", "domain", "predicted", "confidence"):
        assert torch.equal(getattr(back, name), getattr(predictions, name))
    assert (back.classnames, back.domains) == (("cat", "dog", "owl"), ("photo", "sketch"))
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "predictions/1"
        assert file.metadata()["split"] == "test"
        assert file.metadata()["sha256"] == digest
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": torch.tensor([0, 1, 3, 1])}, "'label' must lie in [0, 3)"),
        ({"predicted": torch.tensor([0, -1, 2, 1])}, "'predicted' must lie in [0, 3)"),
        ({"domain": torch.tensor([0, 2, 1, 1])}, "'domain' must lie in [0, 2)"),
        ({"domain": torch.tensor([0, 1, 1])}, "'domain' must be torch.int64 (N,), the same N in all, not torch.int64"),
        ({"predicted": LOGITS[:, 0]}, "'predicted' must be torch.int64 (N,)"),
        ({"confidence": torch.tensor([0.1, 1.1, 0.5, 0.5])}, "'confidence' must lie in [0, 1]"),
        ({"confidence": torch.tensor([0.1, torch.nan, 0.5, 0.5])}, "'confidence' must lie in [0, 1]"),
    ],
)
def test_values_that_do_not_fit_are_refused(predictions, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        replace(predictions, **changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors, metadata: metadata.update(format="predictions/2"), "'format' must be 'predictions/1'"),
        (lambda tensors, metadata: tensors.pop("domain"), "tensor 'domain' is missing"),
        (lambda tensors, metadata: metadata.pop("domains"), "metadata 'domains' must be a JSON list"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, predictions, spoil, message):
    write_predictions(tmp_path, predictions, "test")
    path = tmp_path / "predictions.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    spoil(tensors, metadata)
    del metadata["sha256"]
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_predictions(path)


def test_no_rows_are_no_reason_to_fail():
    none = torch.empty(0, dtype=torch.int64)
    assert len(Predictions(none, none, none, torch.empty(0), ("cat",), ("photo",))) == 0
