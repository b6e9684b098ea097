from __future__ import annotations

import torch
import torch.nn.functional as F

from lare_dassl.methods.shared.linear import random_classifier
from tests.trainers.interruption import metrics_of


def test_it_is_a_linear_probe_on_images_and_the_texts_of_their_classes(build):
    """The trainer's weights are those of a plain loop over the same batches."""
    trainer = build("CrossModal", "run")
    trainer.train()
    probe = random_classifier(16, 5, seed=0)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=0.03, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=6)
    rows, class_text = trainer.embeddings.train, trainer.embeddings.class_text
    for epoch in range(6):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch))
        for part in order.split(16):
            losses = [F.cross_entropy(probe(rows.embedding[row]), rows.label[row]) for row in part]
            losses += [F.cross_entropy(probe(class_text[rows.label[row]]), rows.label[row]) for row in part]
            optimiser.zero_grad()
            (sum(losses) / len(losses)).backward()
            optimiser.step()
        schedule.step()
    torch.testing.assert_close(trainer.model.weight, probe.weight)
    torch.testing.assert_close(trainer.model.bias, probe.bias)


def test_it_starts_at_random_unless_the_text_is_asked_for(build):
    random, text = build("CrossModal", "random"), build("CrossModal", "text", "CLASSIFIER.INIT", "text")
    assert torch.equal(random.model.weight, random_classifier(16, 5, seed=0).weight)
    torch.testing.assert_close(text.model.weight, 50.0 * text.embeddings.class_text)


def test_it_learns_from_the_texts_what_one_image_does_not_show(build, tmp_path):
    few = ("OPTIM.MAX_EPOCH", 40, "DATASET.NUM_SHOTS", 1)
    build("FineTune", "probe", *few).train()
    build("CrossModal", "mixed", *few).train()
    probe, mixed = (metrics_of(tmp_path / name)["accuracy"] for name in ("probe", "mixed"))
    assert mixed > probe
