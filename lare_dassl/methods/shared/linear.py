"""The linear classifier on frozen embeddings ("fine-tune" of the LARE paper, elsewhere a linear probe); zero-shot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .fitting import seeded_network

CLASSIFIER_INITS = ("random", "text")


def random_classifier(embedding_dim: int, num_classes: int, seed: int) -> nn.Linear:
    """A linear layer D → C with torch's default initialisation, the paper's choice.

    The weights follow from the seed; the global random state stays as it is.
    """
    return seeded_network(lambda: nn.Linear(embedding_dim, num_classes), seed)


def text_classifier(class_text: Tensor, logit_scale: float) -> nn.Linear:
    """A linear layer that starts as the zero-shot classifier: weight s · T, bias 0; its logits are s · cosine.

    Args:
        class_text: T, (C, D).
        logit_scale: s.
    """
    num_classes, embedding_dim = class_text.shape
    classifier = nn.Linear(embedding_dim, num_classes, device=class_text.device)
    with torch.no_grad():
        classifier.weight.copy_(logit_scale * class_text)
        classifier.bias.zero_()
    return classifier
