from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(scope="module")
def clusters():
    """Unit embeddings around four directions, their labels, and the directions as class texts."""
    generator = torch.Generator().manual_seed(5)
    class_text = F.normalize(torch.randn(4, 12, generator=generator), dim=-1)
    label = torch.arange(40) % 4
    embedding = F.normalize(class_text[label] + 0.4 * torch.randn(40, 12, generator=generator) / 3, dim=-1)
    return embedding, label, class_text
