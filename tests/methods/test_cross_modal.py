from __future__ import annotations

import pytest
import torch

from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.embeddings.loaders import MixedLoader
from lare_dassl.errors import InputError
from lare_dassl.methods.cross_modal import ClassTexts

CLASS_TEXT = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([2, 0, 1, 1, 2])


def test_each_image_of_a_batch_brings_the_text_of_its_class():
    texts = ClassTexts(CLASS_TEXT, LABEL)
    assert texts.shape == (5, 4)
    (block,) = texts.draw(torch.tensor([4, 1, 3]), torch.Generator())
    assert block.tolist() == [CLASS_TEXT[2].tolist(), CLASS_TEXT[0].tolist(), CLASS_TEXT[1].tolist()]


def test_half_of_the_training_rows_are_texts_in_equal_shares():
    rows = LabelledEmbeddings(torch.zeros(5, 4), LABEL, torch.zeros(5, dtype=torch.int64))
    batches = list(MixedLoader(rows, 2, seed=0, augmentation=ClassTexts(CLASS_TEXT, LABEL)))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    texts = [
        (tuple(row), label)
        for batch in batches
        for row, label, sampled in zip(batch.embedding.tolist(), batch.label.tolist(), batch.sampled, strict=True)
        if sampled
    ]
    assert sorted(texts) == sorted((tuple(CLASS_TEXT[label].tolist()), label) for label in LABEL.tolist())


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_text_is_refused(label):
    with pytest.raises(InputError, match=r"labels must lie in \[0, 3\), got "):
        ClassTexts(CLASS_TEXT, torch.tensor([0, label, 1]))
