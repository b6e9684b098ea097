from __future__ import annotations

import torch
import torch.nn.functional as F

from lare_dassl.methods.shared.linear import random_classifier
from tests.trainers.interruption import metrics_of
from tests.trainers.plain_training import train_plainly


def test_it_is_a_linear_probe_on_images_and_their_class_texts(build):
    """The trainer's weights are those of a plain loop over the same batches."""
    trainer = build("CrossModal", "run")
    trainer.train()
    probe, rows, class_text = random_classifier(16, 5, seed=0), trainer.embeddings.train, trainer.embeddings.class_text

    def loss_of(part):
        losses = [F.cross_entropy(probe(rows.embedding[row]), rows.label[row]) for row in part]
        losses += [F.cross_entropy(probe(class_text[rows.label[row]]), rows.label[row]) for row in part]
        return sum(losses) / len(losses)

    train_plainly(probe.parameters(), loss_of)
    torch.testing.assert_close(trainer.model.weight, probe.weight)
    torch.testing.assert_close(trainer.model.bias, probe.bias)


def test_it_learns_from_the_texts_what_one_image_does_not_show(build, tmp_path):
    few = ("OPTIM.MAX_EPOCH", 40, "DATASET.NUM_SHOTS", 1)
    build("FineTune", "probe", *few).train()
    build("CrossModal", "mixed", *few).train()
    probe, mixed = (metrics_of(tmp_path / name)["accuracy"] for name in ("probe", "mixed"))
    assert mixed > probe
