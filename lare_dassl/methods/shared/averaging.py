"""Averaging the weights of a trained linear classifier with the zero-shot one (WiSE-FT, Wortsman et al., CVPR 2022).

Pure torch. V: validation embeddings, D: embedding width, C: classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHTS = tuple(step / 10 for step in range(11))


def average(trained: nn.Linear, zero_shot: nn.Linear, weight: float) -> nn.Linear:
    """(1 − w) · zero-shot + w · trained, of weights and biases; for linear classifiers also that of their logits.

    >>> trained, zero_shot = nn.Linear(4, 2), nn.Linear(4, 2)
    >>> average(trained, zero_shot, 0.5).weight.allclose((trained.weight + zero_shot.weight) / 2)
    True

    Args:
        trained: layer of D inputs and C outputs; stays as it is.
        zero_shot: another one, see linear.text_classifier.
        weight: w in [0, 1]; the paper calls it α.
    """
    num_classes, embedding_dim = trained.weight.shape
    averaged = nn.Linear(embedding_dim, num_classes, device=trained.weight.device)
    with torch.no_grad():
        averaged.weight.copy_(torch.lerp(zero_shot.weight, trained.weight, weight))
        averaged.bias.copy_(torch.lerp(zero_shot.bias, trained.bias, weight))
    return averaged


def choose_weight(trained: nn.Linear, zero_shot: nn.Linear, embedding: Tensor, label: Tensor) -> float:
    """The weight of WEIGHTS whose average classifies the most validation rows correctly.

    Of equally good ones it is the largest, which is the nearest to the trained classifier.

    Args:
        trained: see average.
        zero_shot: see average.
        embedding: of the validation images, (V, D).
        label: their classes, int64 (V,).
    """

    def score(weight: float) -> tuple[int, float]:
        correct = average(trained, zero_shot, weight)(embedding).argmax(dim=1) == label
        return int(correct.sum()), weight

    with torch.no_grad():
        return max(WEIGHTS, key=score)
