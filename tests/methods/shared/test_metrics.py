from __future__ import annotations

import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from lare_dassl.methods.shared.metrics import confusion_counts, macro_f1


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
