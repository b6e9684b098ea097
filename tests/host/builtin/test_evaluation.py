from __future__ import annotations

import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.config import get_cfg_default
from lare_dassl.host.builtin.evaluation import Classification, build_evaluator, confusion_counts, macro_f1


@pytest.fixture
def outcome():
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(0, 5, (200,), generator=generator)
    true[true == 3] = 4
    return true, torch.randint(0, 7, (200,), generator=generator)


def test_counts_agree_with_sklearn(outcome):
    true, predicted = outcome
    labels, counts = confusion_counts(true, predicted)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert counts.tolist() == confusion_matrix(true, predicted).tolist()


def test_macro_f1_agrees_with_sklearn(outcome):
    true, predicted = outcome
    expected = 100 * f1_score(true, predicted, average="macro", labels=true.unique())
    assert macro_f1(confusion_counts(true, predicted)[1]) == pytest.approx(expected, abs=1e-12)


def test_the_confusion_matrix_is_written_by_rows_of_true_labels(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TEST.COMPUTE_CMAT = str(tmp_path / "new"), True
    evaluator = Classification(cfg, lab2cname={0: "a", 1: "b"})
    evaluator.process(torch.eye(2)[[0, 1, 1, 1]], torch.tensor([0, 0, 1, 1]))
    evaluator.evaluate()
    assert torch.load(tmp_path / "new" / "cmat.pt", weights_only=True).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_an_empty_split_is_refused():
    with pytest.raises(InputError, match="no samples"):
        Classification(get_cfg_default()).evaluate()


def test_an_unknown_evaluator_is_refused():
    cfg = get_cfg_default()
    cfg.TEST.EVALUATOR = "Clasification"
    with pytest.raises(InputError, match=r"did you mean '.*Classification'"):
        build_evaluator(cfg, lab2cname={})
