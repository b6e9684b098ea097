from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.tip_adapter import ALPHAS, BETAS, cache_classifier
from tests.helpers import shifted_embeddings, write_embeddings
from tests.trainers.interruption import last_state, record_of

STRENGTHS = ("TRAINER.TIPADAPTER.ALPHA", 2, "TRAINER.TIPADAPTER.BETA", 3)


def grid_scores(embeddings, rows):
    """Number of rows that the training-free cache classifies correctly, for every pair of the grid."""
    train, text = embeddings.train, embeddings.class_text
    scores = {}
    for alpha in ALPHAS:
        for beta in BETAS:
            affinity = torch.exp(-beta * (1 - rows.embedding @ train.embedding.T))
            logits = 50.0 * rows.embedding @ text.T + alpha * affinity @ F.one_hot(train.label, 5).float()
            scores[alpha, beta] = int((logits.argmax(dim=1) == rows.label).sum())
    return scores


@pytest.fixture
def misleading_file(tmp_path):
    """Class texts that say nothing, so that validation rows want the cache, and test rows that want none of it.

    Each test row has the class whose text is nearest to it, and the cache would say otherwise.
    """
    embeddings = shifted_embeddings()
    text = F.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(3)), dim=-1)
    nearest = (embeddings.test.embedding @ text.T).argmax(dim=1)
    changed = replace(embeddings, class_text=text, test=replace(embeddings.test, label=nearest))
    return write_embeddings(tmp_path / "misleading.safetensors", changed)


def test_strengths_are_chosen_on_validation_rows_alone(build, misleading_file, tmp_path):
    trainer = build("TipAdapter", "run", root=misleading_file)
    trainer.train()
    embeddings = trainer.embeddings
    on_val, on_test = grid_scores(embeddings, embeddings.val), grid_scores(embeddings, embeddings.test)
    best = [pair for pair, score in on_val.items() if score == max(on_val.values())]
    chosen = (float(trainer.model.alpha), float(trainer.model.beta))
    assert chosen == min(best)
    assert on_test[chosen] < max(on_test.values())
    assert trainer.results["accuracy"] == pytest.approx(100 * on_test[chosen] / 60)
    assert record_of(tmp_path / "run")["chosen"] == {
        "TRAINER.TIPADAPTER.ALPHA": chosen[0],
        "TRAINER.TIPADAPTER.BETA": chosen[1],
    }


def test_given_strengths_are_taken(build, tmp_path):
    trainer = build("TipAdapter", "run", *STRENGTHS)
    trainer.train()
    train, test = trainer.embeddings.train, trainer.embeddings.test
    expected = cache_classifier(train.embedding, train.label, trainer.embeddings.class_text, 50.0, alpha=2.0, beta=3.0)
    assert torch.equal(trainer.model(test.embedding), expected(test.embedding))
    assert record_of(tmp_path / "run")["chosen"] == {}


def test_the_one_that_is_not_given_is_chosen(build, misleading_file, tmp_path):
    build("TipAdapter", "run", "TRAINER.TIPADAPTER.BETA", 3, root=misleading_file).train()
    chosen = record_of(tmp_path / "run")["chosen"]
    assert set(chosen) == {"TRAINER.TIPADAPTER.ALPHA"}
    assert chosen["TRAINER.TIPADAPTER.ALPHA"] in ALPHAS


def test_nothing_is_trained_without_f(build, tmp_path):
    trainer = build("TipAdapter", "run")
    trainer.train()
    assert torch.equal(trainer.model.keys, trainer.embeddings.train.embedding)
    assert last_state(tmp_path / "run")["epoch"] == 0


def test_with_f_keys_are_trained_and_strengths_chosen_after_it(build, tmp_path):
    trainer = build("TipAdapterF", "run", "OPTIM.LR", 0.01)
    trainer.train()
    trained = last_state(tmp_path / "run")["state_dict"]
    fresh = trainer.make_classifier().state_dict()
    assert not torch.equal(trained["keys"], fresh["keys"])
    for name in ("values", "zero_shot"):
        assert torch.equal(trained[name], fresh[name])
    assert (float(trained["alpha"]), float(trained["beta"])) == (1.0, 5.5)
    assert torch.equal(trainer.model.keys, trained["keys"])
    chosen = record_of(tmp_path / "run")["chosen"]
    assert float(trainer.model.alpha) == chosen["TRAINER.TIPADAPTER.ALPHA"] in ALPHAS
    assert float(trainer.model.beta) == chosen["TRAINER.TIPADAPTER.BETA"] in BETAS


def test_training_lowers_the_loss_on_the_training_rows(build):
    trainer = build("TipAdapterF", "run", *STRENGTHS, "OPTIM.LR", 0.01)
    before = loss_on_training_rows(trainer)
    trainer.train()
    assert loss_on_training_rows(trainer) < 0.9 * before


@torch.no_grad()
def loss_on_training_rows(trainer):
    rows = trainer.embeddings.train
    return float(F.cross_entropy(trainer.model(rows.embedding), rows.label))


def test_the_papers_training_is_the_default(build):
    optim = build("TipAdapterF", "run").cfg.OPTIM
    assert (optim.NAME, optim.LR, optim.LR_SCHEDULER) == ("adamw", 0.001, "cosine")


def test_a_cache_of_few_shots_is_tested_without_saying_how_many(build, tmp_path):
    trained = build("TipAdapter", "run", "DATASET.NUM_SHOTS", 2)
    trained.train()
    tester = build("TipAdapter", "test")
    tester.load_model(str(tmp_path / "run"))
    assert tester.model.keys.shape == (10, 16)
    assert tester.test() == trained.results["accuracy"]


@pytest.mark.parametrize("name", ["TipAdapter", "TipAdapterF"])
def test_without_validation_rows_the_strengths_must_be_given(build, tmp_path, name):
    root = write_embeddings(tmp_path / "plain.safetensors", shifted_embeddings(with_val=False))
    lacks = "0 needs a validation split, which this dataset lacks: give a value"
    for overrides, key in (((), "ALPHA"), (("TRAINER.TIPADAPTER.ALPHA", 2), "BETA")):
        with pytest.raises(InputError, match=f"^TRAINER.TIPADAPTER.{key} {lacks}"):
            build(name, "run", *overrides, root=root)
    trainer = build(name, "run", *STRENGTHS, root=root)
    trainer.train()
    assert (float(trainer.model.alpha), float(trainer.model.beta)) == (2.0, 3.0)
