from __future__ import annotations

import gc
import time
import weakref
from dataclasses import replace

import pytest
import torch

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import FineTune
from lare_dassl.trainers.base.seeds_together import JointEpochs, reason_apart, train_together
from tests.trainers.interruption import last_state, record_of

FEW = ("DATASET.NUM_SHOTS", 4)


@pytest.mark.parametrize("name", ["LARE", "FineTune", "GaussianNoise", "CrossModal", "RegionCentre"])
@pytest.mark.parametrize("settings", [(), FEW, ("OPTIM.NAME", "sgd", "TEST.FINAL_MODEL", "best_val")])
def test_runs_trained_together_are_those_that_are_trained_alone(build, tmp_path, name, settings):
    together = [build(name, f"together{seed}", *settings, seed=seed) for seed in range(3)]
    assert reason_apart(together) == ""
    train_together(together)
    for seed, trainer in enumerate(together):
        alone = build(name, f"alone{seed}", *settings, seed=seed)
        alone.train()
        torch.testing.assert_close(trainer.model.weight, alone.model.weight, rtol=1e-3, atol=1e-4)
        records = [record_of(tmp_path / f"{kind}{seed}") for kind in ("together", "alone")]
        assert records[0]["split_sha256"] == records[1]["split_sha256"]
        assert [record["machine"]["together"] for record in records] == [3, 1]
        domains = [record["metrics"].pop("domain_accuracy") for record in records]
        assert domains[0] == pytest.approx(domains[1], abs=2.0)
        assert records[0]["metrics"] == pytest.approx(records[1]["metrics"], abs=2.0)
        assert records[0]["seconds"].keys() == records[1]["seconds"].keys()
        for folder in ("model", "regions"):
            sizes = [
                sum(path.stat().st_size for path in (tmp_path / f"{kind}{seed}" / folder).glob("*.tar-*"))
                for kind in ("together", "alone")
            ]
            assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
        for part, expected in last_state(tmp_path / f"alone{seed}")["optimizer"]["state"][0].items():
            found = last_state(tmp_path / f"together{seed}")["optimizer"]["state"][0][part]
            torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)


def test_a_run_that_was_trained_together_goes_on_alone(build, tmp_path):
    train_together([build("LARE", f"run{seed}", seed=seed) for seed in range(2)])
    longer = build("LARE", "run1", "OPTIM.MAX_EPOCH", 9, seed=1)
    longer.train()
    assert longer.start_epoch == 6
    assert last_state(tmp_path / "run1")["epoch"] == 9


def test_the_log_says_which_seed_it_tells_of(build, caplog):
    caplog.set_level("INFO", logger="lare_dassl")
    train_together([build("LARE", f"run{seed}", seed=seed) for seed in (4, 5)])
    for seed in (4, 5):
        assert any(line.startswith(f"seed {seed}: regions, epoch 3/3: loss") for line in caplog.messages)
        assert any(line.startswith(f"seed {seed}: epoch 6/6: loss") for line in caplog.messages)


def test_a_run_interrupted_in_joint_training_goes_on_alone(build, tmp_path, monkeypatch):
    runs = [build("LARE", f"run{seed}", "TRAIN.CHECKPOINT_FREQ", 1, seed=seed) for seed in range(2)]

    def stop():
        if runs[1].epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs[1], "after_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        train_together(runs)
    again = build("LARE", "run0", "TRAIN.CHECKPOINT_FREQ", 1, seed=0)
    again.train()
    assert again.start_epoch == 4
    assert record_of(tmp_path / "run0")["machine"]["together"] == 2
    alone = build("LARE", "alone", seed=0)
    alone.train()
    torch.testing.assert_close(again.model.weight, alone.model.weight, rtol=1e-3, atol=1e-4)


def test_each_run_counts_its_share_of_the_time(build, tmp_path):
    runs = [build("LARE", f"run{seed}", seed=seed) for seed in range(4)]
    began = time.perf_counter()
    earlier = [run.clock.seconds()["total"] for run in runs]
    train_together(runs)
    took = time.perf_counter() - began
    records = [record_of(tmp_path / f"run{seed}")["seconds"] for seed in range(4)]
    assert sum(record["total"] for record in records) < sum(earlier) + 4 * took
    for record, before in zip(records, earlier, strict=True):
        assert record["encode"] <= before
        assert record["stage1"] + record["stage2"] < took / 2
        assert record["encode"] + record["stage1"] + record["stage2"] + record["test"] <= record["total"] + 0.01


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (("ZeroShot",), ("ZeroShot",), "ZeroShot is not trained for several seeds together"),
        (("CLIPAdapter",), ("CLIPAdapter",), "CLIPAdapter is not trained for several seeds together"),
        (("TipAdapterF",), ("TipAdapterF",), "TipAdapterF is not trained for several seeds together"),
        (("FineTune",), ("FineTune", "OPTIM.LR", 0.5), "they differ in more than their seed"),
        (("FineTune",), ("LARE",), "they differ in more than their seed"),
    ],
)
def test_runs_that_must_be_trained_apart(build, first, second, reason):
    runs = [build(name, f"run{seed}", *keys, seed=seed) for seed, (name, *keys) in enumerate((first, second))]
    assert reason_apart(runs) == reason


def test_a_subclass_is_trained_alone_unless_it_says_otherwise(build):
    @TRAINER_REGISTRY.register()
    class SmoothedProbe(FineTune):
        def forward_backward(self, batch):
            raise AssertionError

    runs = [build("SmoothedProbe", f"run{seed}", seed=seed) for seed in range(2)]
    assert reason_apart(runs) == "SmoothedProbe is not trained for several seeds together"


def test_runs_with_a_checkpoint_are_trained_apart(build):
    build("FineTune", "run0", seed=0).train()
    assert reason_apart([build("FineTune", f"run{seed}", seed=seed) for seed in range(2)]) == (
        "some of them go on from a checkpoint"
    )


def test_runs_on_other_images_or_texts_are_trained_apart(build):
    runs = [build("FineTune", f"run{seed}", seed=seed) for seed in range(2)]
    runs[1].embeddings.class_text.mul_(-1)
    assert reason_apart(runs) == "they have different class texts"
    runs[1].embeddings = replace(runs[1].embeddings, train=runs[1].train_rows.select(torch.arange(7)))
    assert reason_apart(runs) == "they have different numbers of images"


def test_nothing_keeps_the_runs_when_they_are_done(build):
    runs = [build("FineTune", f"run{seed}", seed=seed) for seed in range(2)]
    gc.disable()
    try:
        epochs = weakref.ref(JointEpochs(runs))
        assert epochs() is None
    finally:
        gc.enable()
