"""The trainer that all methods on embeddings share: its data, its linear classifier, and its record.

It keeps Dassl's interface (TrainerX) and behaves alike on both hosts: what Dassl 0.6.3 does differently on current
PyTorch is overridden here, and in its bases.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from lare_dassl import vlm
from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.embeddings.loaders import MixedLoader
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.errors import printable
from lare_dassl.io.files import make_folder
from lare_dassl.methods.shared.augmentation import Augmentation
from lare_dassl.methods.shared.averaging import average, choose_weight
from lare_dassl.methods.shared.linear import random_classifier, text_classifier
from lare_dassl.methods.shared.schedule import build_lr_scheduler
from lare_dassl.results.classifier_file import FILE_NAME as CLASSIFIER_FILE
from lare_dassl.results.classifier_file import SavedClassifier, kind_of
from lare_dassl.system.logs import start_logging

from .checkpoint_reader import CheckpointReader
from .description import Described
from .loop_trainer import LoopTrainer
from .optimisation import epochs_of, make_optimizer, optim_for
from .run_data import read_data
from .run_files import RunFiles
from .run_identity import check_same_run, seeded, with_drawn_seed, with_seed_of
from .settings import ClassifierSettings, check_shared_settings, read_settings
from .split_tester import SplitTester
from .stage_clock import StageClock
from .unread_keys import warn_of_unread

logger = logging.getLogger(__name__)


class EmbeddingTrainer(LoopTrainer, Described):
    """Trains a linear classifier on the embeddings of a frozen VLM.

    A method declares the attributes of `Described`, and overrides `make_augmentation`, `prepare_training` (a first
    stage), or `build_model`.

    Args:
        cfg: the whole configuration.

    Attributes:
        tester: tests the model.
        chosen: the settings that were chosen on validation rows; the record keeps them.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """

    def __init__(self, cfg: Any) -> None:
        self.clock = StageClock()
        self.chosen: dict[str, float] = {}
        self.reader = CheckpointReader()
        cfg = with_drawn_seed(with_seed_of(cfg, Path(cfg.RESUME or cfg.OUTPUT_DIR), self.reader))
        self.seed: int = cfg.SEED
        # In a train.py of Dassl's own nobody listens to the log yet.
        if not logger.hasHandlers():
            start_logging()
        logger.info("seed: %d", self.seed)
        warn_of_unread(cfg, on_embeddings=True, ignored=self.ignores)
        super().__init__(cfg)

    @classmethod
    def settings_of(cls, cfg: CfgNode) -> Any:
        """The settings of the method's own section, of its `settings_class`; None where it has no keys.

        Raises:
            InputError: a value is out of its range.
        """
        return read_settings(cls.settings_class, cfg, cls.section) if cls.settings_class else None

    @cached_property
    def settings(self) -> Any:
        """The `settings_of` this run."""
        return self.settings_of(self.cfg)

    @classmethod
    def check_settings(cls, cfg: CfgNode) -> None:
        """Refuse settings that the method cannot work with; the configuration alone is read.

        Raises:
            InputError: a value of the method's section is out of its range; or see `check_shared_settings`.
        """
        cls.settings_of(cfg)
        check_shared_settings(cfg, cls)

    def check_cfg(self, cfg: Any) -> None:
        """Called by the host first: see `check_settings`."""
        self.check_settings(cfg)

    def build_data_loader(self) -> None:
        """Encode the dataset, or read it from the cache, and set the loaders that Dassl expects."""
        self.device = vlm.available_device(self.cfg.USE_CUDA)
        described = "domain texts" in self.needs
        data = read_data(self.cfg, self.device, self.clock, describe_domains=described, choices=self.choices())
        self.dataset, self.embeddings, self.duplicates = data.dataset, data.embeddings, data.duplicates
        self.tester = SplitTester(self.cfg, self.embeddings)
        self.train_loader_x: Any = self.make_loader()
        self.max_epoch = epochs_of(self.cfg, len(self.train_rows))
        self.train_loader_u = None
        self.val_loader, self.test_loader = self.tester.loaders.get("val"), self.tester.loaders["test"]
        self.num_classes = len(self.embeddings.classnames)
        self.num_source_domains = len(self.embeddings.source_domains)
        self.lab2cname = dict(enumerate(self.embeddings.classnames))

    @property
    def skipped(self) -> dict[str, int]:
        """Number of images of each split that were left out, since they cannot be read."""
        return count_skipped(self.dataset)

    @property
    def results(self) -> dict[str, float]:
        """Figures of the last test, in percent; empty before."""
        return self.tester.results

    @property
    def train_rows(self) -> LabelledEmbeddings:
        """The rows trained on."""
        return self.embeddings.train

    @property
    def classifier_settings(self) -> ClassifierSettings:
        """The section CLASSIFIER."""
        return ClassifierSettings.of(self.cfg)

    def choices(self) -> dict[str, str]:
        """The settings that need validation rows, each with what to do where there are none."""
        choices = {}
        if self.cfg.TEST.FINAL_MODEL == "best_val":
            choices["TEST.FINAL_MODEL best_val"] = "use last_step"
        if self.classifier_settings.average is None:
            choices["CLASSIFIER.AVERAGE val"] = "give a weight in [0, 1]"
        if self.cfg.TEST.SPLIT == "val" and not self.cfg.TEST.NO_TEST:
            choices["TEST.SPLIT val"] = "use test"
        return choices

    def make_loader(self, augmentation: Augmentation | None = None) -> MixedLoader:
        """The training loader: real embeddings, and those that an augmentation adds."""
        batch_size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        return MixedLoader(self.train_rows, batch_size, self.seed, augmentation)

    def build_model(self) -> None:
        """Make the linear classifier, with its optimiser and schedule from OPTIM.

        Raises:
            InputError: a value of OPTIM is out of its range.
        """
        self.model: nn.Module = self.make_classifier().to(self.device)
        optim_cfg = self.optim_settings()
        self.optim = make_optimizer(self.model, optim_cfg)
        self.sched = build_lr_scheduler(self.optim, optim_cfg)
        self.register_model("model", self.model, self.optim, self.sched)

    def optim_settings(self) -> CfgNode:
        """The section OPTIM for the number of epochs of this run."""
        return optim_for(self.cfg.OPTIM, self.max_epoch)

    def zero_shot_classifier(self) -> nn.Linear:
        """The class text embeddings as a linear layer."""
        return text_classifier(self.embeddings.class_text, self.embeddings.vlm.logit_scale)

    def make_classifier(self) -> nn.Module:
        """The classifier at its start, from CLASSIFIER.INIT."""
        if self.classifier_settings.init == "text":
            return self.zero_shot_classifier()
        return random_classifier(self.embeddings.vlm.embedding_dim, self.num_classes, self.seed)

    def make_augmentation(self) -> Augmentation | None:
        """The augmentation of the method; None for a method that adds nothing."""
        return None

    def prepare_training(self, directory: Path) -> None:
        """Called once before the first epoch: the place of a method's first stage, and of the loader of the second.

        Args:
            directory: the run's folder, or the one it resumes from.
        """
        with torch.no_grad():
            self.train_loader_x = self.make_loader(self.make_augmentation())

    @classmethod
    def fit_first_stages(cls, trainers: Sequence[EmbeddingTrainer]) -> None:
        """Fit and keep the first stage of several seeds together, where the method has such a stage."""

    def before_train(self) -> None:
        """Resume where there is a checkpoint, run the first stage, and open tensorboard's event file."""
        make_folder(Path(self.output_dir), "--output-dir")
        self.begun = True
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        self.prepare_training(Path(directory))
        self.reader.forget()
        if self.start_epoch < self.max_epoch:
            self.init_writer(str(make_folder(Path(self.output_dir) / "tensorboard", "--output-dir")))
            rate = self.optim_settings().LR
            logger.info("training: epochs %d to %d, learning rate %g", self.start_epoch + 1, self.max_epoch, rate)

    def after_train(self) -> None:
        """Test the chosen model and write the record."""
        if self.cfg.TEST.FINAL_MODEL == "best_val" and self.max_epoch > 0 and not self.cfg.TEST.NO_TEST:
            self.load_model(self.output_dir)
            assert self.loaded is not None
            check_same_run(*self.loaded, self.identity)
        else:
            self.complete_model()
        if not self.cfg.TEST.NO_TEST:
            self.test()
        self.close_writer()
        self.write_record(Path(self.output_dir))

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """See CheckpointedTrainer.load_model; the model is completed too."""
        super().load_model(directory, epoch)
        self.complete_model()

    def complete_model(self) -> None:
        """Finish the trained or loaded model before it is tested: here, average it as CLASSIFIER.AVERAGE asks.

        Checkpoints hold the model as it was trained, so that it is completed once, whichever way it came.
        """
        weight = self.classifier_settings.average
        if weight == 1.0:
            return
        assert isinstance(self.model, nn.Linear)
        zero_shot = self.zero_shot_classifier()
        if weight is None:
            rows = self.embeddings.val
            assert rows is not None
            weight = choose_weight(self.model, zero_shot, rows.embedding, rows.label)
            self.keep_choice({"CLASSIFIER.AVERAGE": weight})
        self.model.load_state_dict(average(self.model, zero_shot, weight).state_dict())

    def keep_choice(self, values: dict[str, float]) -> None:
        """Keep the settings that were chosen on validation rows for the record, by their keys, and log them."""
        self.chosen.update(values)
        logger.info("chosen on validation: %s", ", ".join(f"{name} {value:g}" for name, value in values.items()))

    def test(self, split: str | None = None) -> float:
        """Evaluate on "val" or "test" (left out: TEST.SPLIT); gives the accuracy in percent.

        Raises:
            InputError: "val" is asked for, and there is no validation split.
        """
        split = split or self.cfg.TEST.SPLIT
        with self.clock.timed("test"):
            self.set_model_mode("eval")
            results = self.tester.test(self.model_inference, split)
        for name, value in results.items():
            self.write_scalar(printable(f"{split}/{name}"), value, self.epoch + 1)
        return float(next(iter(results.values())))

    def write_record(self, folder: Path) -> Path:
        """Write the run's files into a folder: split.json, predictions, the classifier, and record.json last."""
        files = RunFiles(folder, seeded(self.cfg, self.seed), self.dataset)
        files.write_predictions(self.tester.evaluator)
        if kind_of(self.model):
            self.set_model_mode("eval")
            temperature, rows = self.tester.temperature(self.model_inference)
            classnames, identity = self.embeddings.classnames, self.embeddings.vlm
            files.write_classifier(SavedClassifier(self.model, classnames, temperature, rows, identity))
        else:
            logger.warning("%s is not written: a %s has no 'kind'", CLASSIFIER_FILE, type(self.model).__name__)
        return files.write_record(
            self.embeddings.vlm,
            samples={name: len(rows) for name, rows in self.embeddings.splits().items()},
            results=self.results,
            seconds=self.clock.seconds(),
            chosen=self.chosen,
            together=self.together,
            skipped=self.skipped,
            duplicates=self.duplicates,
        )
