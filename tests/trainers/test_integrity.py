"""Nothing that is trained or chosen depends on a row that is only to be tested on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from lare_dassl import LabelledEmbeddings
from lare_dassl.embeddings.embedding_file import write_embedding_file
from lare_dassl.io import checkpoint
from lare_dassl.trainers.base.description import described
from tests.helpers import make_domain_tree, run_train, write_image
from tests.trainers.interruption import record_of

TRAINERS = sorted(method.name for method in described())
QUICK = ("OPTIM.MAX_EPOCH", 4, "DATALOADER.TRAIN_X.BATCH_SIZE", 16)
QUICK_STAGES = ("TRAINER.LARE.EPOCHS", 2, "TRAINER.LARE.HIDDEN_DIM", 8)
# What chooses on validation rows, of each trainer that can be asked to.
NOT_LINEAR = ("CLIPAdapter", "TipAdapter", "TipAdapterF", "ZeroShot")


def poisoned(embeddings, domains):
    """The set with garbage in place of the test rows of some domains: embeddings, and every label another one."""
    generator = torch.Generator().manual_seed(77)
    rows = torch.isin(embeddings.test.domain, torch.tensor([embeddings.domain_names.index(name) for name in domains]))
    embedding, label = embeddings.test.embedding.clone(), embeddings.test.label.clone()
    embedding[rows] = F.normalize(torch.randn(int(rows.sum()), embedding.shape[1], generator=generator), dim=-1)
    label[rows] = (label[rows] + 1 + torch.randint(4, (int(rows.sum()),), generator=generator)) % 5
    return replace(embeddings, test=LabelledEmbeddings(embedding, label, embeddings.test.domain))


def settings_of(trainer):
    choosing = ["TEST.FINAL_MODEL", "best_val"]
    choosing += [] if trainer in NOT_LINEAR else ["CLASSIFIER.AVERAGE", "val"]
    return [*QUICK, *choosing, *(QUICK_STAGES if trainer in ("LARE", "RegionCentre") else [])]


def trained(folder, trainer, embeddings):
    write_embedding_file(folder / "data.safetensors", embeddings)
    words = ["--trainer", trainer, "--seed", 0, "--root", folder / "data.safetensors", "--output-dir", folder / "run"]
    keys = ["DATASET.NAME", "EmbeddingFile", "VLM.ALLOW_RANDOM", "True", *settings_of(trainer)]
    assert run_train(*words, *keys) == 0
    return folder / "run"


def states_of(folder):
    """Every tensor of every checkpoint of a run, of first stages too."""
    states = {}
    for path in sorted(folder.rglob("model*.pth.tar*")):
        state = checkpoint.read(path)
        states[path.relative_to(folder)] = (state["state_dict"], state.get("val_result"), state.get("best_result"))
    return states


def classifier_digest(folder):
    with safe_open(folder / "classifier.safetensors", framework="pt") as file:
        return file.metadata()["sha256"]


def assert_same_training(folder, other):
    """To the last bit: weights, what was chosen, and the temperature."""
    # Of the weights and the temperature together; the order of metadata in a file is left to chance.
    assert classifier_digest(folder) == classifier_digest(other)
    first, second = states_of(folder), states_of(other)
    assert first.keys() == second.keys() and first
    for path, (weights, *results) in first.items():
        assert results == list(second[path][1:])
        assert weights.keys() == second[path][0].keys()
        assert all(torch.equal(value, second[path][0][key]) for key, value in weights.items())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_garbage_in_test_rows_changes_nothing_trained_or_chosen(tmp_path, described_embeddings, trainer):
    whole = described_embeddings
    clean = trained(tmp_path / "clean", trainer, whole)
    targets = trained(tmp_path / "targets", trainer, poisoned(whole, whole.target_domains))
    tests = trained(tmp_path / "tests", trainer, poisoned(whole, whole.domain_names))
    assert_same_training(clean, targets)
    assert_same_training(clean, tests)
    records = [record_of(folder) for folder in (clean, targets, tests)]
    assert records[0]["chosen"] == records[1]["chosen"] == records[2]["chosen"]
    assert bool(records[0]["chosen"]) == (trainer not in ("CLIPAdapter", "ZeroShot"))
    metrics = [record["metrics"] for record in records]
    # The garbage was there: it is measured, and measured on the poisoned rows alone.
    assert metrics[0]["in_domain_accuracy"] == metrics[1]["in_domain_accuracy"] > 50
    assert metrics[1]["out_of_domain_accuracy"] < metrics[0]["out_of_domain_accuracy"] - 20
    assert metrics[2]["in_domain_accuracy"] < metrics[0]["in_domain_accuracy"] - 20


def test_the_test_of_poisoned_rows_would_see_validation_rows(tmp_path, described_embeddings):
    """That the comparison can fail: a poisoned validation row does change what is chosen."""
    whole = described_embeddings
    garbage = poisoned(whole, whole.domain_names).test.select(torch.arange(len(whole.val)))
    source = replace(garbage, domain=torch.zeros_like(garbage.domain))
    runs = [
        trained(tmp_path / name, "TipAdapterF", embeddings)
        for name, embeddings in (("clean", whole), ("val", replace(whole, val=source)))
    ]
    with pytest.raises(AssertionError):
        assert_same_training(*runs)
    first, second = map(record_of, runs)
    assert first["chosen"] != second["chosen"]


@pytest.mark.parametrize("trainer", ["LARE", "TipAdapterF", "ContextOptimisation"])
def test_other_target_images_change_nothing_that_is_trained(tmp_path, described_embeddings, trainer):
    root = make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    flags = ("--trainer", trainer, "--seed", 0, "--root", root, "--backbone", described_embeddings.vlm.model)
    domains = ("--source-domains", "photo", "--target-domains", "sketch")
    keys = ("DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32")
    keys += ("DATALOADER.NUM_WORKERS", 0, "EMBEDDINGS.CACHE_DIR", tmp_path / "cache", "DATASET.VAL_FRACTION", 0.3)
    for name in ("clean", "poisoned"):
        assert run_train(*flags, *domains, "--output-dir", tmp_path / name, *keys, *settings_of(trainer)) == 0
        for number, path in enumerate(sorted((root / "sketch").rglob("*.png"))):
            write_image(path, seed=1000 + number)
    assert_same_training(tmp_path / "clean", tmp_path / "poisoned")
    clean, poison = (record_of(tmp_path / name) for name in ("clean", "poisoned"))
    assert clean["chosen"] == poison["chosen"]
    assert clean["split_sha256"] == poison["split_sha256"]
