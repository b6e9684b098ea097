from __future__ import annotations

import errno
import logging
import math
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from lare_dassl import write_embedding_file
from lare_dassl.errors import InputError
from lare_dassl.host.door import HOST
from lare_dassl.io import checkpoint
from lare_dassl.trainers.base.optimisation import worth_a_line
from tests.helpers import CLASSNAMES, shifted_embeddings
from tests.trainers.interruption import last_state, metrics_of, record_of, train_until

CHECKPOINTS = ("TRAIN.CHECKPOINT_FREQ", 3)
BEST_VAL = ("TEST.FINAL_MODEL", "best_val")
DOMAINS = ("photo", "painting", "sketch")


def assert_same(first, second):
    """Equal to the last bit, whatever is nested."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def script_validation(trainer, results):
    """Let validation give these results, one after the other, and the real test its own."""
    real, left = trainer.test, list(results)

    def test(split=None):
        return left.pop(0) if split == "val" else real(split)

    trainer.test = test


@pytest.mark.parametrize(
    "schedule",
    [
        ("OPTIM.LR_SCHEDULER", "cosine"),
        ("OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", 2),
        ("OPTIM.LR_SCHEDULER", "multi_step", "OPTIM.STEPSIZE", "(2, 4)", "OPTIM.NAME", "sgd"),
        BEST_VAL,
    ],
    ids=["cosine", "warmup", "multi_step", "best_val"],
)
@pytest.mark.parametrize("name", ["FineTune", "LARE"])
def test_resuming_gives_the_same_run_to_the_last_bit(build, tmp_path, name, schedule):
    build(name, "straight", *CHECKPOINTS, *schedule).train()
    train_until(build(name, "killed", *CHECKPOINTS, *schedule), epochs=5)
    assert not (tmp_path / "killed" / "record.json").exists()
    torch.rand(7)
    build(name, "killed", *CHECKPOINTS, *schedule).train()
    assert_same(last_state(tmp_path / "straight"), last_state(tmp_path / "killed"))
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "killed")


def test_a_resumed_run_goes_on_from_its_latest_checkpoint(build, tmp_path, caplog):
    train_until(build("FineTune", "run", *CHECKPOINTS), epochs=5)
    assert last_state(tmp_path / "run")["epoch"] == 3
    trainer = build("FineTune", "run", *CHECKPOINTS)
    with caplog.at_level(logging.INFO, "lare_dassl"):
        trainer.train()
    assert trainer.start_epoch == 3
    assert "training: epochs 4 to 6" in caplog.text


def test_resume_from_another_folder_leaves_that_folder_alone(build, tmp_path):
    train_until(build("FineTune", "first", *CHECKPOINTS), epochs=5)
    before = sorted(path.name for path in (tmp_path / "first").rglob("*"))
    build("FineTune", "second", *CHECKPOINTS, resume="first").train()
    build("FineTune", "straight", *CHECKPOINTS).train()
    assert sorted(path.name for path in (tmp_path / "first").rglob("*")) == before
    assert_same(last_state(tmp_path / "second"), last_state(tmp_path / "straight"))


def test_resume_from_a_folder_without_checkpoint_is_refused(build, tmp_path):
    trainer = build("FineTune", "run", resume="empty")
    with pytest.raises(InputError, match=r"--resume .*empty: there is no checkpoint in .*empty/model"):
        trainer.train()


@pytest.mark.parametrize(
    ("folder", "later", "best"),
    [
        ("run", [70.0, 75.0, 80.0], (2, 80.0)),
        ("run", [70.0, 80.5, 60.0], (5, 80.5)),
        ("other", [70.0, 75.0, 79.0], (2, 80.0)),
    ],
)
def test_best_val_keeps_the_best_result_over_a_resume(build, tmp_path, folder, later, best):
    words = (*BEST_VAL, "TRAIN.CHECKPOINT_FREQ", 1)
    killed = build("FineTune", "run", *words)
    script_validation(killed, [50.0, 80.0, 60.0])
    train_until(killed, epochs=3)
    resumed = build("FineTune", folder, *words, resume="run" if folder == "other" else "")
    script_validation(resumed, later)
    resumed.train()
    kept = checkpoint.read(tmp_path / folder / "model" / checkpoint.BEST)
    assert (kept["epoch"], kept["val_result"]) == best
    epoch_file = checkpoint.read(tmp_path / "run" / "model" / f"model.pth.tar-{best[0]}")
    assert_same(resumed.model.state_dict(), epoch_file["state_dict"])


def test_a_finished_run_is_tested_again_without_training(build, tmp_path):
    build("FineTune", "run", *BEST_VAL).train()
    first, state = metrics_of(tmp_path / "run"), last_state(tmp_path / "run")
    again = build("FineTune", "run", *BEST_VAL)
    again.train()
    assert again.start_epoch == 6
    assert metrics_of(tmp_path / "run") == first
    assert_same(last_state(tmp_path / "run"), state)


def test_best_val_without_validation_rows_is_refused(build, tmp_path):
    path = tmp_path / "no_val.safetensors"
    write_embedding_file(path, shifted_embeddings(with_val=False))
    with pytest.raises(InputError, match=r"TEST.FINAL_MODEL best_val needs a validation split.*use last_step"):
        build("FineTune", "run", *BEST_VAL, root=path)
    trainer = build("FineTune", "run", root=path)
    with pytest.raises(InputError, match="no validation split"):
        trainer.test("val")


def test_only_validation_rows_select_the_model(build):
    """Target rows that the best model gets all wrong do not change which model is best."""
    trainer = build("FineTune", "run", *BEST_VAL)
    seen = []
    real = trainer.tester.evaluator.process
    trainer.tester.evaluator.process = lambda logits, label, domain: (
        seen.append(domain.tolist()),
        real(logits, label, domain),
    )
    trainer.train()
    assert seen[:6] == [[0] * 20] * 6
    assert len(seen) == 7 and len(seen[6]) == 60


@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_eval_only_gives_the_metrics_of_training(build, tmp_path, final):
    trained = build("FineTune", "run", "TEST.FINAL_MODEL", final)
    trained.train()
    evaluated = build("FineTune", "eval")
    evaluated.load_model(str(tmp_path / "run"))
    accuracy = evaluated.test()
    assert evaluated.results == trained.results
    assert accuracy == trained.results["accuracy"] == metrics_of(tmp_path / "run")["accuracy"]
    best = checkpoint.read(tmp_path / "run" / "model" / checkpoint.BEST) if final == "best_val" else {"epoch": 6}
    assert evaluated.epoch == best["epoch"] - 1


def test_eval_only_at_an_epoch(build, tmp_path):
    trained = build("FineTune", "run", "TRAIN.CHECKPOINT_FREQ", 2)
    trained.train()
    evaluated = build("FineTune", "eval")
    weights = {}
    for epoch in (2, 4, 6):
        evaluated.load_model(str(tmp_path / "run"), epoch=epoch)
        assert evaluated.epoch == epoch - 1
        weights[epoch] = evaluated.model.weight.detach().clone()
        evaluated.test()
    assert evaluated.results == trained.results
    assert torch.equal(weights[6], trained.model.weight)
    assert not torch.equal(weights[2], weights[4])
    with pytest.raises(InputError, match=r"no checkpoint at '.*model.pth.tar-3': check --model-dir and --load-epoch"):
        evaluated.load_model(str(tmp_path / "run"), epoch=3)


def test_eval_only_needs_a_model_folder(build):
    trainer = build("FineTune", "run")
    with pytest.raises(InputError, match="--eval-only needs --model-dir"):
        trainer.load_model("")
    with pytest.raises(InputError, match="no checkpoint at"):
        trainer.load_model("/nowhere/at/all")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no checkpoint at all"),
        lambda path: torch.save([1, 2, 3], path),
        lambda path: torch.save({"run": {}, "code": pytest.raises}, path),
    ],
    ids=["cut", "empty", "text", "foreign", "code"],
)
def test_a_damaged_checkpoint_is_named(build, tmp_path, damage):
    build("FineTune", "run").train()
    path = tmp_path / "run" / "model" / "model.pth.tar-6"
    damage(path)
    for use in (build("FineTune", "run").train, lambda: build("FineTune", "eval").load_model(str(tmp_path / "run"))):
        with pytest.raises(InputError) as caught:
            use()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_checkpoint_is_found(build, tmp_path):
    trainer = build("FineTune", "run")
    trainer.train()
    path = tmp_path / "run" / "model" / "model.pth.tar-6"
    content = bytearray(path.read_bytes())
    content[content.find(trainer.model.bias.detach().numpy().tobytes()) + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model.pth.tar-6' cannot be read \(the checksum of .* is wrong\)"):
        build("FineTune", "run").train()


def test_seed_0_is_a_seed_and_seeds_differ(build, tmp_path):
    for folder, seed in (("zero", 0), ("again", 0), ("one", 1)):
        build("LARE", folder, seed=seed).train()
    zero, again, one = (last_state(tmp_path / folder) for folder in ("zero", "again", "one"))
    assert_same(zero, again)
    assert zero["seed"] == 0 and one["seed"] == 1
    assert not torch.equal(zero["state_dict"]["weight"], one["state_dict"]["weight"])


def test_without_a_seed_one_is_drawn_and_recorded(build, tmp_path):
    for folder in ("first", "second"):
        build("LARE", folder, seed=-1).train()
    seeds = [record_of(tmp_path / folder)["seed"] for folder in ("first", "second")]
    assert all(seed >= 0 for seed in seeds) and seeds[0] != seeds[1]
    build("LARE", "repeated", seed=seeds[0]).train()
    assert_same(last_state(tmp_path / "first")["state_dict"], last_state(tmp_path / "repeated")["state_dict"])


def test_the_drawn_seed_also_chooses_the_few_shot_images(build):
    drawn = build("FineTune", "first", "DATASET.NUM_SHOTS", 2, seed=-1)
    repeated = build("FineTune", "second", "DATASET.NUM_SHOTS", 2, seed=drawn.seed)
    assert torch.equal(drawn.train_rows.embedding, repeated.train_rows.embedding)


@pytest.mark.parametrize("name", ["FineTune", "LARE"])
def test_a_run_without_seed_resumes_with_the_one_it_drew(build, tmp_path, name):
    words = (*CHECKPOINTS, "DATASET.NUM_SHOTS", 4)
    killed = build(name, "run", *words, seed=-1)
    train_until(killed, epochs=5)
    resumed = build(name, "run", *words, seed=-1)
    resumed.train()
    assert resumed.seed == killed.seed == record_of(tmp_path / "run")["seed"]
    build(name, "straight", *words, seed=killed.seed).train()
    assert_same(last_state(tmp_path / "run")["state_dict"], last_state(tmp_path / "straight")["state_dict"])


def test_a_loss_that_is_no_number_is_one_line(build):
    trainer = build("FineTune", "run", "OPTIM.LR", "1e18", "OPTIM.WEIGHT_DECAY", "1e18", "OPTIM.NAME", "sgd")
    with pytest.raises(InputError, match=r"^the loss is (nan|inf) in epoch \d: lower OPTIM.LR \(1e\+18\)$"):
        trainer.train()


def test_the_record_holds_all_of_its_fields(build, tmp_path):
    trainer = build("LARE", "run", "DATASET.NUM_SHOTS", 4)
    trainer.train()
    record = record_of(tmp_path / "run")
    fixed = {
        "format": "record/1",
        "trainer": "LARE",
        "dataset": "EmbeddingFile",
        "seed": 0,
        "shots": 4,
        "imbalance": 1.0,
        "host": HOST,
        "vlm": {
            "model": "ViT-B-32",
            "pretrained": "openai",
            "weights_sha256": "0123abcd",
            "precision": "bf16",
            "embedding_dim": 16,
        },
        "source_domains": ["photo"],
        "target_domains": ["painting", "sketch"],
        "split": "test",
        "samples": {"train": 20, "val": 20, "test": 60},
        "skipped": {"train": 0, "val": 0, "test": 0},
        "duplicates": {"train/val": 0, "train/test": 0, "val/test": 0},
    }
    assert {key: record[key] for key in fixed} == fixed
    told = {"split_sha256", "files", "chosen", "metrics", "seconds", "versions", "machine", "config", "sha256"}
    assert set(record) == {*fixed, *told}
    assert set(record["files"]) == {"classifier.safetensors", "predictions.safetensors"}
    assert set(record["seconds"]) == {"encode", "stage1", "stage2", "test", "total"}
    assert all(record["seconds"][stage] > 0 for stage in ("stage1", "stage2", "test", "total"))
    assert record["seconds"]["total"] >= sum(record["seconds"][stage] for stage in ("stage1", "stage2", "test"))
    assert record["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert record["config"]["OPTIM"]["MAX_EPOCH"] == 6
    assert record["config"]["TRAINER"]["LARE"]["HIDDEN_DIM"] == 8


def test_metrics_are_percent_in_full_precision(build, tmp_path):
    trainer = build("FineTune", "run")
    trainer.train()
    rows = trainer.embeddings.test
    correct = (trainer.model(rows.embedding).argmax(dim=1) == rows.label).double()
    by_domain = {name: 100 * correct[rows.domain == place].mean().item() for place, name in enumerate(DOMAINS)}
    metrics = metrics_of(tmp_path / "run")
    accuracies = {f"{part}accuracy" for part in ("", "in_domain_", "out_of_domain_", "domain_")}
    assert set(metrics) == accuracies | {"macro_f1", "ece"}
    assert metrics["accuracy"] == pytest.approx(100 * correct.mean().item(), abs=1e-9)
    assert metrics["domain_accuracy"] == pytest.approx(by_domain, abs=1e-9)
    assert metrics["in_domain_accuracy"] == by_domain["photo"]
    assert metrics["out_of_domain_accuracy"] == pytest.approx((by_domain["painting"] + by_domain["sketch"]) / 2)
    assert metrics["ece"] != round(metrics["ece"], 1)


def test_scalars_go_to_tensorboard(build, tmp_path):
    trainer = build("FineTune", "run", *BEST_VAL)
    trainer.train()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[-1].value < losses[0].value
    rates = [event.value for event in events.Scalars("train/lr")]
    expected = [0.03 * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)]
    assert rates == pytest.approx(expected, rel=1e-5)
    assert len(events.Scalars("val/accuracy")) == 6
    assert events.Scalars("test/accuracy")[-1].value == pytest.approx(trainer.results["accuracy"])


@pytest.mark.parametrize("epochs", [6, 47])
def test_the_log_has_at_most_one_line_per_epoch(build, caplog, epochs):
    with caplog.at_level(logging.INFO, "lare_dassl"):
        build("FineTune", "run", *BEST_VAL, "OPTIM.MAX_EPOCH", epochs).train()
    lines = [record.getMessage() for record in caplog.records]
    told = [line.split("/")[0] for line in lines if line.startswith("epoch ")]
    assert len(told) == len(set(told)) <= min(epochs, 13)
    assert told[0] == "epoch 1" and told[-1] == f"epoch {epochs}"
    assert len(lines) <= len(told) + 6


def test_worth_a_line():
    assert [epoch for epoch in range(1, 201) if worth_a_line(epoch, 200)] == [1, *range(20, 201, 20)]
    assert [epoch for epoch in range(1, 4) if worth_a_line(epoch, 3)] == [1, 2, 3]


def test_all_settings_that_nothing_reads_are_named_in_one_line(build, caplog):
    unread = {"INPUT.TRANSFORMS": "('random_flip',)", "MODEL.HEAD.NAME": "mlp", "DATASET.VAL_PERCENT": 0.2}
    unread |= {"DATASET.VAL_FRACTION": 0.2}
    words = [word for pair in unread.items() for word in pair]
    with caplog.at_level(logging.WARNING, "lare_dassl"):
        build("FineTune", "run", *words, "DATALOADER.TRAIN_X.SAMPLER", "SequentialSampler", "OPTIM.LR", 0.01)
    [line] = [record.getMessage() for record in caplog.records if "read by nothing" in record.getMessage()]
    names = "INPUT.TRANSFORMS, DATASET.VAL_PERCENT, DATASET.VAL_FRACTION, DATALOADER.TRAIN_X.SAMPLER, MODEL.HEAD.NAME"
    assert line == f"set, but read by nothing in this run of FineTune on EmbeddingFile: {names}"


def test_what_a_dassl_trainer_must_have_is_there(build):
    trainer = build("FineTune", "run")
    assert trainer.lab2cname == dict(enumerate(CLASSNAMES))
    assert (trainer.num_classes, trainer.num_source_domains) == (5, 1)
    assert (len(trainer.train_loader_x), len(trainer.val_loader), len(trainer.test_loader)) == (3, 1, 1)
    assert trainer.train_loader_u is None


def test_a_repeated_run_keeps_the_times_of_the_first(build, tmp_path):
    build("LARE", "run").train()
    first = record_of(tmp_path / "run")["seconds"]
    build("LARE", "run").train()
    again = record_of(tmp_path / "run")["seconds"]
    assert (again["stage1"], again["stage2"]) == (first["stage1"], first["stage2"])
    assert again["total"] >= first["stage1"] + first["stage2"]


@pytest.mark.parametrize("written", [0, 1, 4])
def test_a_full_disk_under_the_event_file_is_one_line(build, monkeypatch, written):
    room = iter(range(written))

    def write(*_):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(threading, "excepthook", lambda failure: None)
    monkeypatch.setattr(RecordWriter, "write", write)
    with pytest.raises(InputError, match=r"^cannot write to .*tensorboard: No space left on device: make room there"):
        build("FineTune", "run").train()


def test_a_full_disk_is_one_line(build, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot write .*model.pth.tar-6: No space left on device"):
        build("FineTune", "run").train()
