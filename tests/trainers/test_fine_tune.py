from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.linear import random_classifier
from tests.trainers.interruption import metrics_of
from tests.trainers.plain_training import train_plainly


def test_it_is_a_linear_probe_trained_by_adamw(build):
    """The trainer's weights are those of a plain loop over the same batches."""
    trainer = build("FineTune", "run")
    trainer.train()
    probe, rows = random_classifier(16, 5, seed=0), trainer.embeddings.train
    train_plainly(probe.parameters(), lambda part: F.cross_entropy(probe(rows.embedding[part]), rows.label[part]))
    torch.testing.assert_close(trainer.model.weight, probe.weight)
    torch.testing.assert_close(trainer.model.bias, probe.bias)


def test_its_batches_hold_real_embeddings_alone(build):
    trainer = build("FineTune", "run")
    batches = list(trainer.train_loader_x)
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert not any(batch.sampled.any() for batch in batches)
    seen = torch.cat([batch.embedding for batch in batches])
    assert {tuple(row) for row in seen.tolist()} == {tuple(row) for row in trainer.embeddings.train.embedding.tolist()}


def test_it_learns_the_source_domain(build, tmp_path):
    build("FineTune", "run", "OPTIM.MAX_EPOCH", 40).train()
    metrics = metrics_of(tmp_path / "run")
    assert metrics["in_domain_accuracy"] >= 90.0
    assert metrics["in_domain_accuracy"] > metrics["out_of_domain_accuracy"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("OPTIM.NAME", "adamx", r"OPTIM.NAME.*adamx"),
        ("OPTIM.LR_SCHEDULER", "cosin", r"\(OPTIM.LR_SCHEDULER\) 'cosin': did you mean 'cosine'"),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", 0, "DATALOADER.TRAIN_X.BATCH_SIZE must be at least 1, not 0"),
        ("OPTIM.MAX_EPOCH", -1, "OPTIM.MAX_EPOCH must be at least 0, not -1"),
        ("OPTIM.STEPS", 0, "OPTIM.STEPS must be at least 1, not 0"),
        ("OPTIM.LR", -1.0, "OPTIM.LR must be at least 0, not -1.0"),
        ("OPTIM.WEIGHT_DECAY", -1.0, "OPTIM.WEIGHT_DECAY must be at least 0, not -1.0"),
    ],
)
def test_settings_that_cannot_be_used_are_named(build, key, value, message):
    with pytest.raises(InputError, match=message):
        build("FineTune", "run", key, value)


@pytest.mark.parametrize(
    ("batch_size", "steps", "epochs"), [(16, 450, 150), (64, 600, 200), (16, 20, 10), (16, 45, 15)]
)
def test_steps_decide_where_no_number_of_epochs_is_given(build, batch_size, steps, epochs):
    keys = ("OPTIM.MAX_EPOCH", 0, "DATALOADER.TRAIN_X.BATCH_SIZE", batch_size, "OPTIM.STEPS", steps)
    trainer = build("FineTune", "run", *keys)
    assert len(trainer.train_rows) == 40
    assert trainer.max_epoch == epochs
    assert trainer.optim.param_groups[0]["lr"] == pytest.approx(0.03 * (200 / epochs) ** 0.5)
    trainer.train()
    assert trainer.sched.get_last_lr() == pytest.approx([0.0], abs=1e-9)


def test_a_given_number_of_epochs_keeps_the_given_learning_rate(build):
    trainer = build("FineTune", "run", "OPTIM.MAX_EPOCH", 7)
    assert (trainer.max_epoch, trainer.optim.param_groups[0]["lr"]) == (7, 0.03)


@pytest.mark.parametrize(("first", "then"), [(0, 20), (20, 0)])
def test_a_run_that_goes_on_takes_the_rate_of_its_new_epochs(build, first, then):
    keys = ("DATALOADER.TRAIN_X.BATCH_SIZE", 16, "OPTIM.STEPS", 30, "TRAIN.CHECKPOINT_FREQ", 1, "OPTIM.MAX_EPOCH")
    trainer = build("FineTune", "run", *keys, first)
    trainer.max_epoch = 3
    trainer.train()
    again = build("FineTune", "run", *keys, then)
    again.before_train()
    assert again.start_epoch == 3
    full = 0.03 * (1 if then else 20**0.5)
    share = (1 + math.cos(math.pi * 3 / (then or 10))) / 2
    assert again.optim.param_groups[0]["lr"] == pytest.approx(full * share)
    assert again.sched.base_lrs == pytest.approx([full])
