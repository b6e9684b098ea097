from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.clip_adapter import AdapterClassifier
from lare_dassl.methods.shared.fitting import seeded_network
from tests.trainers.interruption import metrics_of
from tests.trainers.plain_training import train_plainly


def test_it_is_the_adapter_trained_with_cross_entropy(build):
    """The trainer's weights are those of a plain loop over the same batches."""
    trainer = build("CLIPAdapter", "run", "OPTIM.LR", 0.01, "TRAINER.CLIPADAPTER.RATIO", 0.4)
    trainer.train()
    class_text, rows = trainer.embeddings.class_text, trainer.embeddings.train
    start = seeded_network(lambda: AdapterClassifier(class_text, 50.0, 4, 0.4), seed=0)
    weights = [start.down.weight.detach().clone(), start.up.weight.detach().clone()]
    down, up = (weight.requires_grad_() for weight in weights)

    def loss_of(part):
        image = rows.embedding[part]
        adapted = torch.clamp(torch.clamp(image @ down.T, min=0) @ up.T, min=0)
        mixed = 0.4 * adapted + 0.6 * image
        logits = 50.0 * (mixed / mixed.norm(dim=1, keepdim=True)) @ class_text.T
        return F.cross_entropy(logits, rows.label[part])

    train_plainly(weights, loss_of, lr=0.01)
    torch.testing.assert_close(trainer.model.down.weight, down, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trainer.model.up.weight, up, rtol=1e-4, atol=1e-5)


def test_it_gains_on_zero_shot_in_the_source_domain(build, tmp_path):
    build("ZeroShot", "zero").train()
    build("CLIPAdapter", "adapted", "OPTIM.MAX_EPOCH", 40, "OPTIM.LR", 0.01).train()
    zero, adapted = (metrics_of(tmp_path / name)["in_domain_accuracy"] for name in ("zero", "adapted"))
    assert adapted >= zero
    assert adapted >= 90.0


def test_a_reduction_that_leaves_no_width_is_named(build):
    message = "TRAINER.CLIPADAPTER.REDUCTION 17 leaves nothing of embeddings that are 16 wide: lower it"
    with pytest.raises(InputError, match=message):
        build("CLIPAdapter", "run", "TRAINER.CLIPADAPTER.REDUCTION", 17)
