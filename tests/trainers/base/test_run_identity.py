from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lare_dassl import write_embedding_file
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.trainers.base.run_identity import run_identity
from tests.helpers import shifted_embeddings
from tests.trainers.interruption import train_until

CHECKPOINTS = ("TRAIN.CHECKPOINT_FREQ", 3)


@pytest.fixture
def killed(build):
    """A FineTune in the folder "run" that was killed after three of six epochs."""
    train_until(build("FineTune", "run", *CHECKPOINTS), epochs=4)


def other_file(tmp_path, **changes):
    """An embedding file that differs from the usual one in these attributes."""
    write_embedding_file(tmp_path / "other.safetensors", replace(shifted_embeddings(), **changes))
    return tmp_path / "other.safetensors"


def other_model(**changes):
    return replace(shifted_embeddings().vlm, **changes)


def refusal(action):
    """The one line that an action is refused with."""
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (("OPTIM.LR", 0.5), "OPTIM.LR is 0.03 there and 0.5 here"),
        (("OPTIM.NAME", "sgd"), "OPTIM.NAME is adamw there and sgd here"),
        (("CLASSIFIER.INIT", "text"), "CLASSIFIER.INIT is random there and text here"),
        (("DATASET.NUM_SHOTS", 2), "DATASET.NUM_SHOTS is -1 there and 2 here"),
        (("DATALOADER.TRAIN_X.BATCH_SIZE", 8), "DATALOADER.TRAIN_X.BATCH_SIZE is 16 there and 8 here"),
    ],
)
def test_a_run_of_other_settings_does_not_go_on(build, tmp_path, killed, words, difference):
    message = refusal(build("FineTune", "run", *CHECKPOINTS, *words).train)
    path = tmp_path / "run" / "model" / "model.pth.tar-3"
    assert message == f"checkpoint {path} is of another run ({difference}): give another --output-dir, or delete it"


def test_unused_descriptions_and_names_of_files_are_free(build, killed):
    trainer = build("FineTune", "run", *CHECKPOINTS)
    there = dict(trainer.identity)
    assert not {"VLM.PROMPTS_FILE", "DATASET.SPLIT_FILE", "DATASET.TARGET_PROMPTS"} & there.keys()
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.DATASET.TARGET_PROMPTS["painting"] = "a painting of a {}."
    assert run_identity(cfg, trainer.embeddings) == there


def test_a_run_of_another_seed_or_trainer_does_not_go_on(build, killed):
    assert "(SEED is 0 there and 1 here)" in refusal(build("FineTune", "run", *CHECKPOINTS, seed=1).train)
    assert "TRAINER.NAME is FineTune there and LARE here" in refusal(build("LARE", "run", *CHECKPOINTS).train)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"vlm": other_model(model="coca_ViT-L-14")}, "frozen model is ViT-B-32 there and coca_ViT-L-14 here"),
        ({"vlm": other_model(weights_sha256="feed")}, "weights (sha256) is 0123abcd there and feed here"),
        ({"classnames": ("cat", "dog", "heron", "owl", "emu")}, "classes is cat, dog, heron, owl, wren there and"),
    ],
)
def test_another_frozen_model_or_other_classes_are_refused_twice(build, tmp_path, changes, difference):
    build("FineTune", "run").train()
    path = other_file(tmp_path, **changes)
    resuming = refusal(build("FineTune", "run", root=path).train)
    testing = refusal(lambda: build("FineTune", "eval", root=path).load_model(str(tmp_path / "run")))
    assert "is of another run (" in resuming and difference in resuming
    assert "is of another model (" in testing and difference in testing
    assert testing.endswith("check --model-dir and the dataset config")


def test_changed_training_data_is_refused_but_may_be_tested(build, tmp_path):
    build("FineTune", "run").train()
    embeddings = shifted_embeddings()
    path = other_file(tmp_path, train=embeddings.train.select(torch.arange(39)))
    assert "training data (sha256) is " in refusal(build("FineTune", "run", root=path).train)
    evaluated = build("FineTune", "eval", root=path)
    evaluated.load_model(str(tmp_path / "run"))
    assert evaluated.epoch == 5


def test_settings_that_change_nothing_learned_may_differ(build, tmp_path, killed, embedding_file):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(embedding_file.read_bytes())
    words = ("TRAIN.CHECKPOINT_FREQ", 1, "DATALOADER.NUM_WORKERS", 0, "TEST.PER_CLASS_RESULT", True)
    trainer = build("FineTune", "run", *words, root=moved)
    trainer.train()
    assert trainer.start_epoch == 3


def test_a_longer_training_goes_on_from_a_shorter_one(build, tmp_path):
    build("FineTune", "run").train()
    trainer = build("FineTune", "run", "OPTIM.MAX_EPOCH", 8)
    trainer.train()
    assert trainer.start_epoch == 6
    assert (tmp_path / "run" / "model" / "model.pth.tar-8").is_file()


def test_a_shorter_training_is_not_served_by_a_longer_one(build, tmp_path):
    build("FineTune", "run").train()
    message = refusal(build("FineTune", "run", "OPTIM.MAX_EPOCH", 4).train)
    assert "model.pth.tar-6 is 6 epochs old, beyond OPTIM.MAX_EPOCH 4: give another --output-dir" in message


def test_a_checkpoint_of_another_program_is_refused(build, tmp_path):
    trainer = build("FineTune", "run")
    state = {"state_dict": trainer.model.state_dict(), "epoch": 3, "optimizer": None, "scheduler": None}
    checkpoint.write(state, tmp_path / "run" / "model", "model.pth.tar-3")
    message = refusal(trainer.train)
    assert "(it does not say of which; it was not written by this trainer)" in message
    message = refusal(lambda: build("FineTune", "eval").load_model(str(tmp_path / "run"), epoch=3))
    assert "it was not written by this trainer" in message


def test_a_long_difference_is_shortened(build, tmp_path):
    build("FineTune", "run").train()
    path = other_file(tmp_path, classnames=tuple(name * 20 for name in shifted_embeddings().classnames))
    message = refusal(lambda: build("FineTune", "eval", root=path).load_model(str(tmp_path / "run")))
    assert "catcat" in message and "..." in message and len(message) < 400


def test_a_model_is_tested_by_its_own_trainer_alone(build, tmp_path):
    build("LARE", "run").train()
    with pytest.raises(InputError, match=r"is of another model \(trainer is LARE there and FineTune here\)"):
        build("FineTune", "eval").load_model(str(tmp_path / "run"))


def test_a_model_is_not_tested_on_its_source_domain_as_a_target(build, tmp_path):
    build("FineTune", "run").train()
    settings = ("DATASET.SOURCE_DOMAINS", ["sketch"], "DATASET.TARGET_DOMAINS", ["photo"])
    with pytest.raises(InputError):
        build("FineTune", "eval", *settings).load_model(str(tmp_path / "run"))


def test_a_record_of_a_loaded_model_needs_its_settings(build, tmp_path):
    build("FineTune", "run", "OPTIM.LR", 0.1).train()
    other = build("FineTune", "eval")
    other.load_model(str(tmp_path / "run"))
    with pytest.raises(InputError, match=r"OPTIM.LR is 0.1 there and 0.03 here"):
        other.check_loaded_settings()
    same = build("FineTune", "eval", "OPTIM.LR", 0.1, "DATASET.TARGET_DOMAINS", ["sketch"], seed=5)
    same.load_model(str(tmp_path / "run"))
    same.check_loaded_settings()
    assert same.seed == 0


def test_best_val_does_not_continue_a_last_step_run(build):
    build("FineTune", "run").train()
    with pytest.raises(InputError, match=r"TEST.FINAL_MODEL is last_step there and best_val here"):
        build("FineTune", "run", "TEST.FINAL_MODEL", "best_val").train()


def test_a_checkpoint_may_hold_settings_no_longer_compared(build, tmp_path, killed):
    path = checkpoint.latest(tmp_path / "run" / "model")
    state = checkpoint.read(path)
    state["run"] |= {"MODEL.INIT_WEIGHTS": "x.pth", "DATALOADER.TRAIN_U.BATCH_SIZE": "8"}
    checkpoint.write(state, path.parent, path.name)
    trainer = build("FineTune", "run", *CHECKPOINTS)
    trainer.train()
    assert trainer.start_epoch == 3
