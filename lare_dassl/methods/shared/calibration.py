"""Temperature scaling: one number that makes a classifier as sure as it is right (Guo et al., ICML 2017).

Pure torch. V: validation rows, C: classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST, HIGHEST = 1e-3, 1e3
"""The range of a temperature."""
HALVINGS = 40


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """The T in [LOWEST, HIGHEST] under which softmax(z / T) has the least negative log-likelihood on validation rows.

    In b = 1/T its slope is mean(E_p[z] − E_q[z]), p = softmax(b z) and q the labels, which rises with b: its zero is
    found by bisection of log b, the same each time. Few rows that are all classified correctly would ask for endless
    certainty; so q is 1 − e at the label and e / (C − 1) at each other class, e = 1 / (V + 2), which are Platt's
    targets (1999) and vanish as V grows.

    >>> unsure = fit_temperature(torch.tensor([[9.0, 0.0], [9.0, 0.0]]), torch.tensor([0, 1]))
    >>> unsure > 1
    True

    Args:
        logits: z, (V, C), with V and C of at least 1.
        label: true classes, int64 (V,).
    """
    logits = logits.detach().cpu().double()
    expected = _expected_logit(logits, label.cpu())
    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        predicted = ((math.exp(middle) * logits).softmax(dim=1) * logits).sum(dim=1).mean()
        low, high = (low, middle) if predicted > expected else (middle, high)
    return math.exp(-(low + high) / 2)


def _expected_logit(logits: Tensor, label: Tensor) -> Tensor:
    """The mean of E_q[z] over the rows: a scalar."""
    rows, classes = logits.shape
    of_label = logits.gather(1, label[:, None]).squeeze(1)
    of_others = (logits.sum(dim=1) - of_label) / max(classes - 1, 1)
    smoothing = 1 / (rows + 2)
    return torch.lerp(of_label, of_others, smoothing).mean()
