from __future__ import annotations

import torch

from lare_dassl.methods.shared.augmentation import MovedEmbeddings


def test_moved_embeddings_come_in_a_block_for_each_move():
    moved = MovedEmbeddings(torch.arange(24.0).reshape(2, 4, 3))
    assert moved.shape == (4, 3)
    first, second = moved.draw(torch.tensor([3, 0]), torch.Generator())
    assert first.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert second.tolist() == [[21, 22, 23], [12, 13, 14]]
