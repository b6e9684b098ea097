from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.optim import build_optimizer
from lare_dassl.host.builtin.trainer import TrainerX
from lare_dassl.host.door import get_cfg_default
from lare_dassl.io import checkpoint
from lare_dassl.methods.shared.schedule import build_lr_scheduler


class Tiny(TrainerX):
    """A linear classifier of eight fixed points; `results` are the validation results that it pretends to reach."""

    results = (50.0, 70.0, 60.0, 65.0, 40.0)

    def build_data_loader(self):
        points = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1] * 4)
        batch = {"img": points, "label": labels, "domain": torch.zeros(8, dtype=torch.long)}
        self.train_loader_x = self.val_loader = self.test_loader = [batch]
        self.num_classes, self.lab2cname = 2, {0: "a", 1: "b"}

    def build_model(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        optimizer = build_optimizer(self.model, self.cfg.OPTIM)
        self.register_model("linear", self.model, optimizer, build_lr_scheduler(optimizer, self.cfg.OPTIM))

    def forward_backward(self, batch):
        inputs, labels, _ = self.parse_batch_train(batch)
        loss = F.cross_entropy(self.model(inputs), labels)
        self.model_backward_and_update(loss)
        self.update_lr()
        return {"loss": loss.item()}

    def test(self, split=None):
        result = super().test(split)
        return self.results[self.epoch] if split == "val" else result


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.TEST.EVALUATOR = "Classification"
    cfg.OPTIM.MAX_EPOCH = 4
    return cfg


def trained(cfg, kind=Tiny, **keys):
    for key, value in keys.items():
        section, name = key.split("__")
        cfg[section][name] = value
    trainer = kind(cfg)
    trainer.train()
    return trainer


def test_a_resumed_run_ends_with_the_same_weights(cfg, tmp_path):
    whole = trained(cfg, TRAIN__CHECKPOINT_FREQ=1, OPTIM__WARMUP_EPOCH=2, OPTIM__LR_SCHEDULER="cosine")
    (tmp_path / "linear" / checkpoint.POINTER).write_text(checkpoint.epoch_file(2) + "\n")
    resumed = trained(cfg)
    assert resumed.start_epoch == 2
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_files_are_those_of_dassl_and_no_temporary_file_stays(cfg, tmp_path):
    trained(cfg, TRAIN__CHECKPOINT_FREQ=2)
    names = sorted(path.name for path in (tmp_path / "linear").iterdir())
    assert names == ["checkpoint", "model.pth.tar-2", "model.pth.tar-4"]
    state = torch.load(tmp_path / "linear" / "model.pth.tar-4", weights_only=True)
    assert sorted(state) == ["epoch", "optimizer", "scheduler", "sha256", "state_dict", "val_result"]
    assert state["epoch"] == 4


def test_the_best_model_is_kept_and_deployed(cfg, tmp_path):
    trainer = trained(cfg, TEST__FINAL_MODEL="best_val")
    best = checkpoint.read(tmp_path / "linear" / checkpoint.BEST)
    assert (best["epoch"], best["val_result"]) == (2, 70.0)
    assert torch.equal(trainer.model.weight, best["state_dict"]["weight"])


def test_a_resumed_run_remembers_the_best_result(cfg, tmp_path):
    trained(cfg, TEST__FINAL_MODEL="best_val")
    resumed = trained(cfg, OPTIM__MAX_EPOCH=5)
    assert resumed.start_epoch == 4
    assert resumed.best_result == 70.0
    assert checkpoint.read(tmp_path / "linear" / checkpoint.BEST)["epoch"] == 2


def test_a_run_resumed_from_another_folder_has_no_best_result_yet(cfg, tmp_path):
    trained(cfg, TEST__FINAL_MODEL="best_val")
    cfg.RESUME, cfg.OUTPUT_DIR = str(tmp_path), str(tmp_path / "next")
    resumed = trained(cfg, OPTIM__MAX_EPOCH=5)
    assert resumed.best_result == 40.0


def test_an_epoch_saved_without_a_validation_result_can_be_loaded(cfg, tmp_path):
    whole = trained(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "other")
    fresh = Tiny(cfg)
    fresh.load_model(str(tmp_path), epoch=4)
    assert torch.equal(fresh.model.weight, whole.model.weight)


def test_without_a_checkpoint_training_starts_at_the_first_epoch(cfg, tmp_path):
    (tmp_path / "linear").mkdir()
    assert Tiny(cfg).resume_model_if_exist(str(tmp_path)) == 0


def test_a_missing_checkpoint_is_named(cfg, tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint at '.*linear.model\.pth\.tar-9'"):
        Tiny(cfg).load_model(str(tmp_path), epoch=9)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_named(cfg, tmp_path, content):
    trained(cfg)
    (tmp_path / "linear" / "model.pth.tar-4").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pth\.tar-4' cannot be read"):
        Tiny(cfg).resume_model_if_exist(str(tmp_path))


def test_a_checkpoint_of_another_model_is_refused(cfg, tmp_path):
    trained(cfg)
    checkpoint.write({"state_dict": {"weight": torch.zeros(5, 5)}, "epoch": 4}, tmp_path / "linear", checkpoint.BEST)
    with pytest.raises(InputError, match="is of another model"):
        Tiny(cfg).load_model(str(tmp_path))


def test_loading_from_no_folder_does_nothing(cfg):
    trainer = Tiny(cfg)
    before = trainer.model.weight.clone()
    trainer.load_model("")
    assert torch.equal(trainer.model.weight, before)


@pytest.mark.parametrize("name", ["build_data_loader", "build_model"])
def test_a_trainer_that_leaves_out_a_builder_is_told_so(cfg, name):
    kind = type("Partial", (Tiny,), {name: getattr(TrainerX, name)})
    with pytest.raises(NotImplementedError, match=rf"trainer 'Partial' must define {name}\(\)"):
        kind(cfg)
