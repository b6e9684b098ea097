from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.clip_adapter import AdapterClassifier
from lare_dassl.methods.shared.fitting import seeded_network
from lare_dassl.results.classifier_file import FILE_NAME, read_classifier
from tests.trainers.interruption import check_that_a_resumed_run_equals_a_straight_one, metrics_of


def test_it_is_the_adapter_trained_with_cross_entropy(build):
    """The trainer's weights are those of a plain loop over the same batches."""
    trainer = build("CLIPAdapter", "run", "OPTIM.LR", 0.01, "TRAINER.CLIPADAPTER.RATIO", 0.4)
    trainer.train()
    class_text, rows = trainer.embeddings.class_text, trainer.embeddings.train
    start = seeded_network(lambda: AdapterClassifier(class_text, 50.0, 4, 0.4), seed=0)
    weights = [start.down.weight.detach().clone(), start.up.weight.detach().clone()]
    down, up = (weight.requires_grad_() for weight in weights)
    optimiser = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=6)
    for epoch in range(6):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch))
        for part in order.split(16):
            image = rows.embedding[part]
            adapted = torch.clamp(torch.clamp(image @ down.T, min=0) @ up.T, min=0)
            mixed = 0.4 * adapted + 0.6 * image
            logits = 50.0 * (mixed / mixed.norm(dim=1, keepdim=True)) @ class_text.T
            optimiser.zero_grad()
            F.cross_entropy(logits, rows.label[part]).backward()
            optimiser.step()
        schedule.step()
    torch.testing.assert_close(trainer.model.down.weight, down, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trainer.model.up.weight, up, rtol=1e-4, atol=1e-5)


def test_it_gains_on_the_zero_shot_classifier_in_the_source_domain(build, tmp_path):
    build("ZeroShot", "zero").train()
    build("CLIPAdapter", "adapted", "OPTIM.MAX_EPOCH", 40, "OPTIM.LR", 0.01).train()
    zero, adapted = (metrics_of(tmp_path / name)["in_domain_accuracy"] for name in ("zero", "adapted"))
    assert adapted >= zero
    assert adapted >= 90.0


def test_the_global_random_state_does_not_matter(build):
    first = build("CLIPAdapter", "first")
    torch.manual_seed(99)
    assert torch.equal(build("CLIPAdapter", "again").model.up.weight, first.model.up.weight)
    assert not torch.equal(build("CLIPAdapter", "other", seed=1).model.up.weight, first.model.up.weight)


def test_a_resumed_run_equals_the_undisturbed_one(build, embedding_file, tmp_path):
    check_that_a_resumed_run_equals_a_straight_one(build, "CLIPAdapter", embedding_file, tmp_path)


def test_a_trained_adapter_is_tested_again(build, tmp_path):
    trainer = build("CLIPAdapter", "run")
    trainer.train()
    embedding = trainer.embeddings.test.embedding
    kept = read_classifier(tmp_path / "run" / FILE_NAME).module
    assert torch.equal(kept(embedding), trainer.model(embedding))
    tester = build("CLIPAdapter", "test")
    tester.load_model(str(tmp_path / "run"))
    assert tester.test() == trainer.results["accuracy"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("TRAINER.CLIPADAPTER.RATIO", 1.5), r"TRAINER.CLIPADAPTER.RATIO must lie in \[0, 1\], not 1.5"),
        (("TRAINER.CLIPADAPTER.REDUCTION", 0), "TRAINER.CLIPADAPTER.REDUCTION must be at least 1, not 0"),
        (
            ("TRAINER.CLIPADAPTER.REDUCTION", 17),
            "TRAINER.CLIPADAPTER.REDUCTION 17 leaves nothing of embeddings that are 16 wide: lower it",
        ),
        (("CLASSIFIER.AVERAGE", "0.5"), "CLASSIFIER.AVERAGE 0.5 needs a linear classifier"),
    ],
)
def test_settings_that_cannot_be_used_are_named(build, overrides, message):
    with pytest.raises(InputError, match=message):
        build("CLIPAdapter", "run", *overrides)


def test_a_start_of_the_classifier_has_no_meaning_and_is_told(build, caplog):
    with caplog.at_level(logging.WARNING, "lare_dassl"):
        build("CLIPAdapter", "run", "CLASSIFIER.INIT", "text")
    assert "on EmbeddingFile: CLASSIFIER.INIT" in caplog.text
