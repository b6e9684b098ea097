from __future__ import annotations

import torch

from tests.trainers.interruption import metrics_of, record_of


def test_it_classifies_by_the_nearest_class_text(build, tmp_path):
    trainer = build("ZeroShot", "run")
    trainer.train()
    rows, text = trainer.embeddings.test, trainer.embeddings.class_text
    logits = trainer.model(rows.embedding)
    torch.testing.assert_close(logits, 50.0 * rows.embedding @ text.T)
    right = ((rows.embedding @ text.T).argmax(dim=1) == rows.label).double()
    assert abs(metrics_of(tmp_path / "run")["accuracy"] - 100 * right.mean().item()) < 1e-9


def test_nothing_is_trained(build, tmp_path):
    trainer = build("ZeroShot", "run", "OPTIM.MAX_EPOCH", 6, "TEST.FINAL_MODEL", "best_val")
    before = trainer.model.weight.detach().clone()
    trainer.train()
    assert torch.equal(trainer.model.weight, before)
    record = record_of(tmp_path / "run")
    assert record["trainer"] == "ZeroShot"
    assert record["seconds"]["stage1"] == record["seconds"]["stage2"] == 0.0
    assert [path.name for path in (tmp_path / "run" / "model").iterdir() if "tar" in path.name] == ["model.pth.tar-0"]


def test_the_seed_has_no_influence(build, tmp_path):
    build("ZeroShot", "first", seed=0).train()
    build("ZeroShot", "second", seed=5).train()
    assert metrics_of(tmp_path / "first") == metrics_of(tmp_path / "second")


def test_it_runs_twice_in_one_folder(build, tmp_path):
    build("ZeroShot", "run").train()
    first = metrics_of(tmp_path / "run")
    build("ZeroShot", "run").train()
    assert metrics_of(tmp_path / "run") == first


def test_eval_only_needs_no_folder_even_for_a_record(build, tmp_path):
    trained = build("ZeroShot", "run")
    trained.train()
    evaluated = build("ZeroShot", "eval")
    evaluated.load_model("")
    evaluated.test()
    evaluated.check_loaded_settings()
    evaluated.write_record(tmp_path / "eval")
    assert metrics_of(tmp_path / "eval") == metrics_of(tmp_path / "run")
