"""Classification metrics on tensors of labels. N: rows, L: labels that occur."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_counts(true: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Confusion matrix: number of rows for each pair of true and predicted label.

    Args:
        true: int64 (N,).
        predicted: int64 (N,).

    Returns:
        labels: (L,), the labels that occur in either, ascending.
        counts: float64 (L, L), row = true label, column = predicted label.

    >>> labels, counts = confusion_counts(torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2]))
    >>> labels.tolist(), counts.tolist()
    ([0, 2], [[1.0, 1.0], [0.0, 1.0]])
    """
    labels, index = torch.unique(torch.cat([true, predicted]), return_inverse=True)
    rows, columns = index.split(len(true))
    size = len(labels)
    counts = torch.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
    return labels, counts.double()


def macro_f1(counts: Tensor) -> float:
    """Mean F1 in percent over the labels that have true rows, from a confusion matrix (L, L).

    >>> round(macro_f1(torch.tensor([[1.0, 1.0], [0.0, 1.0]])), 1)
    66.7
    """
    occurs = counts.sum(dim=1) > 0
    f1 = 2.0 * counts.diag() / (counts.sum(dim=1) + counts.sum(dim=0))
    return 100.0 * f1[occurs].mean().item()
