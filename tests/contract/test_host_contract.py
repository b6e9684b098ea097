"""The parts of Dassl's interface that the library relies on, tested on the host that is present."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lare_dassl.config.keys import TABLE
from lare_dassl.host import door as api
from lare_dassl.methods.shared.schedule import build_lr_scheduler

REGISTRIES = {"trainer": api.TRAINER_REGISTRY, "dataset": api.DATASET_REGISTRY, "evaluator": api.EVALUATOR_REGISTRY}
DEFAULTS = {
    "OUTPUT_DIR": "./output",
    "RESUME": "",
    "SEED": -1,
    "USE_CUDA": True,
    "INPUT.SIZE": (224, 224),
    "INPUT.TRANSFORMS": (),
    "DATASET.ROOT": "",
    "DATASET.SOURCE_DOMAINS": (),
    "DATASET.NUM_SHOTS": -1,
    "DATALOADER.NUM_WORKERS": 4,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 32,
    "DATALOADER.TRAIN_X.SAMPLER": "RandomSampler",
    "MODEL.BACKBONE.NAME": "",
    "OPTIM.NAME": "adam",
    "OPTIM.LR": 0.0003,
    "OPTIM.STEPSIZE": (-1,),
    "OPTIM.WARMUP_EPOCH": -1,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "TEST.SPLIT": "test",
    "TEST.FINAL_MODEL": "last_step",
    "TRAINER.FIXMATCH.CONF_THRE": 0.95,
}


def make_cfg(folder, **optim):
    cfg = api.get_cfg_default()
    cfg.OUTPUT_DIR = str(folder)
    cfg.TEST.EVALUATOR = "Classification"
    cfg.OPTIM.MAX_EPOCH = 2
    for key, value in optim.items():
        cfg.OPTIM[key] = value
    return cfg


class TestRegistry:
    @pytest.mark.parametrize("kind", REGISTRIES)
    def test_registries_are_of_the_hosts_class(self, kind):
        assert isinstance(REGISTRIES[kind], api.Registry)

    def test_a_name_is_taken_once(self):
        registry = api.Registry("TOY")

        @registry.register()
        class Toy:
            pass

        with pytest.raises(KeyError, match="Toy"):
            registry.register(Toy)
        registry.register(Toy, force=True)
        assert registry.get("Toy") is Toy
        assert registry.registered_names() == ["Toy"]

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(KeyError, match="Nothing"):
            api.Registry("TOY").get("Nothing")

    @pytest.mark.parametrize(
        ("build", "key"),
        [(api.build_trainer, "TRAINER"), (api.build_dataset, "DATASET")],
    )
    def test_building_an_unknown_name_is_a_value_error(self, build, key):
        cfg = api.get_cfg_default()
        cfg[key].NAME = "Nothing"
        with pytest.raises(ValueError, match="Nothing"):
            build(cfg)

    @pytest.mark.parametrize(
        ("kind", "names"),
        [
            ("trainer", {"ZeroShot", "FineTune", "LARE"}),
            ("dataset", {"DemoWorld", "CUBPainting", "DomainFolders", "EmbeddingFile"}),
            ("evaluator", {"DomainClassification", "Classification"}),
        ],
    )
    def test_importing_the_package_registers_what_it_has(self, kind, names):
        assert names <= set(REGISTRIES[kind].registered_names())

    def test_our_trainers_leave_the_names_of_the_coop_family_free(self):
        family = {"CoOp", "CoCoOp", "ZeroshotCLIP", "MaPLe", "PromptSRC", "CLAP"}
        ours = [name for name in api.TRAINER_REGISTRY.registered_names() if is_ours(api.TRAINER_REGISTRY.get(name))]
        assert len(ours) >= 3
        assert not family & set(ours)


def is_ours(kind):
    return kind.__module__.startswith("lare_dassl.")


class TestConfig:
    @pytest.mark.parametrize("key", DEFAULTS)
    def test_default(self, key):
        value = api.get_cfg_default()
        for part in key.split("."):
            value = value[part]
        assert value == DEFAULTS[key]
        assert type(value) is type(DEFAULTS[key])

    def test_copies_follow_the_live_default(self):
        api.cfg_default.MARK = "seen"
        try:
            assert api.get_cfg_default().MARK == "seen"
        finally:
            del api.cfg_default["MARK"]

    @pytest.mark.skipif(api.HOST == "builtin", reason="compares the stand-in with Dassl: no Dassl is installed")
    def test_the_table_of_keys_has_dassls_keys_defaults_and_types(self):
        from dassl.config import defaults

        assert defaults._C is api.cfg_default
        real, rows = flat(api.cfg_default), [row for row in TABLE if row.source == "Dassl"]
        assert {row.name: (real.get(row.name), type(real.get(row.name))) for row in rows} == {
            row.name: (row.default, type(row.default)) for row in rows
        }

    def test_clean_cfg_keeps_one_trainer(self):
        cfg = api.get_cfg_default()
        api.clean_cfg(cfg, "FixMatch")
        assert sorted(cfg.TRAINER.keys()) == ["FIXMATCH", "NAME"]

    def test_merging_casts_lists_and_refuses_other_types_and_keys(self, tmp_path):
        file = tmp_path / "x.yaml"
        file.write_text("DATASET:\n  SOURCE_DOMAINS: [photo, sketch]\nOPTIM:\n  LR: 0.5\n")
        cfg = api.get_cfg_default()
        cfg.merge_from_file(str(file))
        assert cfg.DATASET.SOURCE_DOMAINS == ("photo", "sketch")
        cfg.merge_from_list(["OPTIM.LR", "0.25", "USE_CUDA", "False"])
        assert (cfg.OPTIM.LR, cfg.USE_CUDA) == (0.25, False)
        with pytest.raises(ValueError, match="Type mismatch"):
            cfg.merge_from_list(["OPTIM.LR", "fast"])
        with pytest.raises(AssertionError, match="Non-existent key"):
            cfg.merge_from_list(["OPTIM.RATE", 1.0])

    def test_a_frozen_config_cannot_be_changed(self):
        cfg = api.get_cfg_default()
        cfg.freeze()
        with pytest.raises(AttributeError):
            cfg.OPTIM.LR = 1.0


def flat(cfg, prefix=""):
    found: dict[str, Any] = {}
    for key, value in cfg.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found


class TestDataset:
    def test_datum_holds_what_it_is_given(self, image):
        datum = api.Datum(impath=image, label=3, domain=1, classname="owl")
        assert (datum.impath, datum.label, datum.domain, datum.classname) == (image, 3, 1, "owl")

    @pytest.mark.filterwarnings("ignore:No file found")
    def test_datum_refuses_a_missing_file(self):
        with pytest.raises((AssertionError, ValueError)):
            api.Datum(impath="nowhere.png")

    def test_classes_are_read_from_the_training_images(self, image):
        train = [api.Datum(image, label=label, classname=name) for label, name in ((2, "owl"), (0, "cat"), (1, "dog"))]
        dataset = api.DatasetBase(train_x=train, val=train[:1], test=train[:2])
        assert dataset.num_classes == 3
        assert dataset.lab2cname == {0: "cat", 1: "dog", 2: "owl"}
        assert dataset.classnames == ["cat", "dog", "owl"]
        assert (dataset.train_x, dataset.val, dataset.test) == (train, train[:1], train[:2])
        assert not dataset.train_u

    def test_unknown_domains_are_a_value_error(self, image):
        class Domains(api.DatasetBase):
            domains: ClassVar[list[str]] = ["photo", "sketch"]

        dataset = Domains(train_x=[api.Datum(image)])
        dataset.check_input_domains(["photo"], ["sketch"])
        with pytest.raises(ValueError, match="clipart"):
            dataset.check_input_domains(["clipart"], ["sketch"])

    @pytest.fixture
    def image(self, tmp_path):
        path = tmp_path / "x.png"
        path.touch()
        return str(path)


class Recorder(api.TrainerX):
    """A linear classifier of eight fixed points that records the order in which its hooks are called."""

    calls: ClassVar[list[str]] = []

    def check_cfg(self, cfg):
        self.calls.clear()
        self.calls.append("check_cfg")

    def build_data_loader(self):
        self.calls.append("build_data_loader")
        points = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
        batch = {"img": points, "label": torch.tensor([0, 1] * 4), "domain": torch.zeros(8, dtype=torch.long)}
        self.train_loader_x = [batch, batch]
        self.train_loader_u = None
        self.val_loader = self.test_loader = [batch]
        self.num_classes, self.num_source_domains, self.lab2cname = 2, 1, {0: "a", 1: "b"}

    def build_model(self):
        self.calls.append("build_model")
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optim = api.build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("linear", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        self.calls.append(f"forward_backward {self.epoch} {self.batch_idx}/{self.num_batches}")
        inputs, labels, _ = self.parse_batch_train(batch)
        loss = F.cross_entropy(self.model(inputs), labels)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}

    def before_train(self):
        super().before_train()
        self.calls.append("before_train")

    def before_epoch(self):
        super().before_epoch()
        self.calls.append("before_epoch")

    def after_epoch(self):
        self.calls.append("after_epoch")
        super().after_epoch()

    def after_train(self):
        self.calls.append("after_train")
        super().after_train()

    def test(self, split=None):
        self.calls.append(f"test {split}")
        return super().test(split)


class TestTrainer:
    def test_hooks_are_called_in_order(self, tmp_path):
        Recorder(make_cfg(tmp_path)).train()
        epochs = [
            ["before_epoch", f"forward_backward {epoch} 0/2", f"forward_backward {epoch} 1/2", "after_epoch"]
            for epoch in range(2)
        ]
        assert Recorder.calls == [
            *("check_cfg", "build_data_loader", "build_model", "before_train"),
            *epochs[0],
            *epochs[1],
            *("after_train", "test None"),
        ]

    def test_best_val_evaluates_after_each_epoch(self, tmp_path):
        cfg = make_cfg(tmp_path)
        cfg.TEST.FINAL_MODEL = "best_val"
        Recorder(cfg).train()
        assert [call for call in Recorder.calls if call.startswith("test")] == ["test val", "test val", "test None"]
        assert (tmp_path / "linear" / "model-best.pth.tar").is_file()

    def test_attributes_before_training(self, tmp_path):
        trainer = Recorder(make_cfg(tmp_path))
        assert (trainer.start_epoch, trainer.epoch, trainer.max_epoch) == (0, 0, 2)
        assert trainer.output_dir == str(tmp_path)
        assert trainer.best_result == -np.inf
        assert trainer.get_model_names() == ["linear"]
        assert isinstance(trainer.evaluator, api.Classification)
        assert trainer.device.type in ("cpu", "cuda")

    def test_a_second_run_resumes_after_the_last_epoch(self, tmp_path):
        Recorder(make_cfg(tmp_path)).train()
        resumed = Recorder(make_cfg(tmp_path, MAX_EPOCH=3))
        resumed.train()
        assert resumed.start_epoch == 2
        assert [call for call in Recorder.calls if call.startswith("forward")] == [
            "forward_backward 2 0/2",
            "forward_backward 2 1/2",
        ]

    def test_no_test_and_no_cuda_are_heeded(self, tmp_path):
        cfg = make_cfg(tmp_path)
        cfg.TEST.NO_TEST, cfg.USE_CUDA = True, False
        trainer = Recorder(cfg)
        trainer.train()
        assert trainer.device.type == "cpu"
        assert "test None" not in Recorder.calls

    def test_test_gives_the_evaluators_first_figure(self, tmp_path):
        trainer = Recorder(make_cfg(tmp_path))
        (batch,) = trainer.test_loader
        correct = (trainer.model(batch["img"].to(trainer.device)).argmax(1).cpu() == batch["label"]).sum().item()
        assert trainer.test() == pytest.approx(100 * correct / 8)

    def test_write_scalar_does_nothing_before_init_writer(self, tmp_path):
        trainer = Recorder(make_cfg(tmp_path))
        trainer.write_scalar("train/loss", 1.0, 0)
        trainer.close_writer()
        assert not (tmp_path / "tensorboard").exists()
        trainer.init_writer(str(tmp_path / "tensorboard"))
        trainer.write_scalar("train/loss", 1.0, 0)
        trainer.close_writer()
        assert len(list((tmp_path / "tensorboard").iterdir())) == 1

    def test_modes(self, tmp_path):
        trainer = Recorder(make_cfg(tmp_path))
        for mode, training in (("eval", False), ("train", True), ("test", False)):
            trainer.set_model_mode(mode)
            assert trainer.model.training is training
        with pytest.raises(KeyError):
            trainer.set_model_mode("sleep")

    def test_a_loss_that_is_not_finite_stops_the_run(self, tmp_path):
        with pytest.raises(FloatingPointError):
            Recorder(make_cfg(tmp_path)).model_backward_and_update(torch.tensor(float("nan")))

    def test_a_missing_checkpoint_is_refused(self, tmp_path):
        with pytest.raises((FileNotFoundError, ValueError), match=r"model\.pth\.tar-7"):
            Recorder(make_cfg(tmp_path)).load_model(str(tmp_path), epoch=7)

    def test_training_takes_the_steps_of_plain_gradient_descent(self, tmp_path):
        keys = {"NAME": "sgd", "LR": 0.1, "MOMENTUM": 0.0, "WEIGHT_DECAY": 0.0, "LR_SCHEDULER": "cosine"}
        trainer = Recorder(make_cfg(tmp_path, **keys))
        weight, bias = (tensor.detach().clone() for tensor in trainer.model.parameters())
        trainer.train()
        (batch,) = trainer.test_loader
        for rate in (0.1, 0.1, 0.05, 0.05):
            error = (batch["img"] @ weight.T + bias).softmax(1) - F.one_hot(batch["label"])
            weight -= rate * error.T @ batch["img"] / 8
            bias -= rate * error.mean(0)
        assert torch.allclose(trainer.model.weight.cpu(), weight, atol=1e-6)
        assert torch.allclose(trainer.model.bias.cpu(), bias, atol=1e-6)


class TestModels:
    """Registered models: names, modes, and refused calls."""

    @pytest.fixture
    def trainer(self, tmp_path):
        trainer = Recorder(make_cfg(tmp_path))
        trainer.register_model("second", torch.nn.Linear(2, 2))
        return trainer

    def test_models_are_named(self, trainer):
        assert list(trainer.get_model_names()) == ["linear", "second"]
        assert list(trainer.get_model_names("second")) == ["second"]
        assert list(trainer.get_model_names(["second", "linear"])) == ["second", "linear"]

    def test_a_name_that_no_model_has_is_refused(self, trainer):
        with pytest.raises(AssertionError):
            trainer.get_model_names(["linear", "third"])

    def test_a_name_is_given_once(self, trainer):
        with pytest.raises(AssertionError):
            trainer.register_model("linear", torch.nn.Linear(2, 2))

    def test_a_model_before_the_trainer_itself_is_refused(self):
        with pytest.raises(AttributeError):
            Recorder.__new__(Recorder).register_model("linear", torch.nn.Linear(2, 2))

    def test_modes_are_set_by_name(self, trainer):
        trainer.set_model_mode("eval", ["second"])
        assert trainer.model.training
        assert not trainer._models["second"].training


class TestEvaluator:
    outputs = torch.eye(3)[[0, 1, 1, 2, 0]]
    labels = torch.tensor([0, 1, 2, 2, 0])

    def evaluate(self, **keys):
        cfg = api.get_cfg_default()
        cfg.TEST.EVALUATOR = "Classification"
        for key, value in keys.items():
            cfg.TEST[key] = value
        evaluator = api.build_evaluator(cfg, lab2cname={0: "cat", 1: "dog", 2: "owl"})
        evaluator.reset()
        evaluator.process(self.outputs[:2], self.labels[:2])
        evaluator.process(self.outputs[2:], self.labels[2:])
        return evaluator.evaluate()

    def test_results(self):
        results = self.evaluate()
        assert isinstance(results, OrderedDict)
        assert list(results) == ["accuracy", "error_rate", "macro_f1"]
        assert list(results.values()) == pytest.approx([80.0, 20.0, 100 * (1 + 2 / 3 + 2 / 3) / 3])

    def test_accuracy_by_class(self):
        assert self.evaluate(PER_CLASS_RESULT=True)["perclass_accuracy"] == pytest.approx(100 * 2.5 / 3)

    def test_reset_forgets(self):
        evaluator = api.Classification(api.get_cfg_default(), lab2cname={0: "cat", 1: "dog"})
        evaluator.process(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
        evaluator.reset()
        evaluator.process(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        assert evaluator.evaluate()["accuracy"] == 100.0


class TestTools:
    def test_the_same_seed_draws_the_same_numbers(self):
        def draw():
            return random.random(), np.random.rand(), torch.rand(1).item()

        api.set_random_seed(0)
        first = draw()
        api.set_random_seed(0)
        assert draw() == first
        api.set_random_seed(1)
        assert all(a != b for a, b in zip(draw(), first, strict=True))

    @pytest.mark.parametrize("name", ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"])
    def test_optimisers_take_the_settings(self, name, tmp_path):
        cfg = make_cfg(tmp_path, NAME=name, LR=0.25, WEIGHT_DECAY=0.125)
        optimizer = api.build_optimizer(torch.nn.Linear(2, 2), cfg.OPTIM)
        assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.25, 0.125)

    def test_an_unknown_optimiser_is_a_value_error(self, tmp_path):
        with pytest.raises(ValueError, match="adamx"):
            api.build_optimizer(torch.nn.Linear(2, 2), make_cfg(tmp_path, NAME="adamx").OPTIM)

    @pytest.mark.skipif(api.HOST == "builtin", reason="mends the installed Dassl: no Dassl is installed")
    def test_trainers_written_for_dassl_can_warm_up(self, tmp_path):
        from dassl.engine import trainer
        from dassl.optim import build_lr_scheduler as dassls_own

        assert trainer.build_lr_scheduler is dassls_own
        cfg = make_cfg(tmp_path, NAME="sgd", LR=0.5, WARMUP_EPOCH=1, WARMUP_TYPE="constant", LR_SCHEDULER="cosine")
        optimizer = api.build_optimizer(torch.nn.Linear(1, 1), cfg.OPTIM)
        scheduler = dassls_own(optimizer, cfg.OPTIM)
        rates = []
        for _ in range(3):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert rates == pytest.approx([1e-5, 0.5, 0.25])
