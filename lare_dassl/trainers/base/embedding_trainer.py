"""The trainer that all methods on embeddings share: data, linear classifier, loop, test, record.

It keeps Dassl's interface (TrainerX) and behaves alike on both hosts: what Dassl 0.6.3 does differently on current
PyTorch is overridden here, and in CheckpointedTrainer.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lare_dassl import vlm
from lare_dassl.config.merging import averaging_weight
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.datasets.base.split_file import write_split
from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.embeddings.loaders import EmbeddingBatch, MixedLoader, RowLoader
from lare_dassl.encoding.build import build_embeddings
from lare_dassl.encoding.duplicates import check_duplicates
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.errors import InputError, printable
from lare_dassl.host.door import build_optimizer
from lare_dassl.io import checkpoint
from lare_dassl.io.files import make_folder
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.methods.shared.augmentation import Augmentation
from lare_dassl.methods.shared.averaging import average, choose_weight
from lare_dassl.methods.shared.calibration import fit_temperature
from lare_dassl.methods.shared.fitting import FUSING_DEVICES, LEAST_EPOCHS, MOST_EPOCHS, epochs_for
from lare_dassl.methods.shared.linear import random_classifier, text_classifier
from lare_dassl.methods.shared.schedule import build_lr_scheduler
from lare_dassl.results.classifier_file import FILE_NAME as CLASSIFIER_FILE
from lare_dassl.results.classifier_file import SavedClassifier, kind_of, write_classifier
from lare_dassl.results.metrics import DomainClassification
from lare_dassl.results.predictions import FILE_NAME as PREDICTIONS_FILE
from lare_dassl.results.predictions import write_predictions
from lare_dassl.results.record import make_record, write_record
from lare_dassl.system.logs import start_logging

from .checkpointed_trainer import CheckpointedTrainer
from .description import Described
from .run_identity import check_same_run, seeded, with_seed
from .stage_clock import StageClock
from .unread_keys import warn_of_unread

logger = logging.getLogger(__name__)

LOG_LINES = 10


class EmbeddingTrainer(CheckpointedTrainer, Described):
    """Trains a linear classifier on the embeddings of a frozen VLM.

    A method declares the attributes of `Described`, and overrides `make_augmentation`, `prepare_training` (a first
    stage), or `build_model`.

    Args:
        cfg: the whole configuration.

    Attributes:
        told_as: what stands before the lines that tell of the run's progress.
        chosen: the settings that were chosen on validation rows; the record keeps them.

    Raises:
        InputError: what the configuration or the data names cannot be used.
    """

    told_as = ""

    def __init__(self, cfg: Any) -> None:
        self.clock = StageClock()
        self.results: dict[str, float] = {}
        self.chosen: dict[str, float] = {}
        cfg = with_seed(cfg)
        self.seed: int = cfg.SEED
        # In a train.py of Dassl's own nobody listens to the log yet.
        if not logger.hasHandlers():
            start_logging()
        logger.info("seed: %d", self.seed)
        super().__init__(cfg)
        # Dassl's evaluator knows neither domains nor calibration; ours gives its figures and these.
        self.evaluator = DomainClassification(
            cfg,
            lab2cname=self.lab2cname,
            domain_names=self.embeddings.domain_names,
            source_domains=self.embeddings.source_domains,
            target_domains=self.embeddings.target_domains,
        )

    def check_cfg(self, cfg: Any) -> None:
        """Name the settings that nothing reads, in the log.

        Raises:
            InputError: CLASSIFIER.AVERAGE is out of its range, or asked of a classifier that is not linear; no
                optimiser can be made from OPTIM; or best_val is asked for without tests.
        """
        if averaging_weight(cfg) != 1.0 and self.head != "linear":
            raise InputError(
                f"CLASSIFIER.AVERAGE {cfg.CLASSIFIER.AVERAGE} needs a linear classifier, which {cfg.TRAINER.NAME} has "
                "not: leave it at 1.0"
            )
        if "OPTIM." not in self.ignores:
            check_optim(cfg.OPTIM, linear=self.head == "linear")
        if cfg.TEST.FINAL_MODEL == "best_val" and cfg.TEST.NO_TEST:
            raise InputError("TEST.FINAL_MODEL best_val selects by tests, which TEST.NO_TEST leaves out: use last_step")
        warn_of_unread(cfg, on_embeddings=True, ignored=self.ignores)

    def build_data_loader(self) -> None:
        """Encode the dataset, or read it from the cache, and set the loaders that Dassl expects."""
        self.device = vlm.available_device(self.cfg.USE_CUDA)
        with self.clock.timed("encode"):
            dataset = open_dataset(self.cfg)
            self._check_validation(dataset)
            encoded = build_embeddings(self.cfg, dataset, describe_domains="domain texts" in self.needs)
        self.dataset, report = encoded.dataset, encoded.report
        if report.images:
            logger.info("embeddings: %d images, %d decoded now", report.images, report.decoded)
        self.duplicates = check_duplicates(self.cfg, self.dataset, encoded.embeddings)
        self.embeddings = encoded.embeddings.to(self.device)
        self.train_loader_x: Any = self.make_loader()
        optim = self.cfg.OPTIM
        rows, batch_size = len(self.train_rows), self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        self.max_epoch = optim.MAX_EPOCH or epochs_for(rows, batch_size, optim.STEPS)
        self.train_loader_u = None
        self.val_loader = RowLoader(self.embeddings.val) if self.embeddings.val is not None else None
        self.test_loader = RowLoader(self.embeddings.test)
        self.num_classes = len(self.embeddings.classnames)
        self.num_source_domains = len(self.embeddings.source_domains)
        self.lab2cname = dict(enumerate(self.embeddings.classnames))

    @property
    def skipped(self) -> dict[str, int]:
        """How many images of each split were left out, since they cannot be read."""
        return count_skipped(self.dataset)

    def _check_validation(self, dataset: ImageDataset) -> None:
        """Refuse, before anything is encoded, to choose on validation images where there are none."""
        if not dataset.has_validation:
            for setting, instead in self.choices().items():
                raise InputError(f"{setting} needs a validation split, which this dataset lacks: {instead}")

    def make_loader(self, augmentation: Augmentation | None = None) -> MixedLoader:
        """The training loader, with what a method adds to the real embeddings."""
        batch_size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        return MixedLoader(self.train_rows, batch_size, self.seed, augmentation)

    @property
    def train_rows(self) -> LabelledEmbeddings:
        """The rows trained on."""
        return self.embeddings.train

    def choices(self) -> dict[str, str]:
        """The settings that need validation rows, each with what to do where there are none."""
        choices = {}
        if self.cfg.TEST.FINAL_MODEL == "best_val":
            choices["TEST.FINAL_MODEL best_val"] = "use last_step"
        if averaging_weight(self.cfg) is None:
            choices["CLASSIFIER.AVERAGE val"] = "give a weight in [0, 1]"
        if self.cfg.TEST.SPLIT == "val" and not self.cfg.TEST.NO_TEST:
            choices["TEST.SPLIT val"] = "use test"
        return choices

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

    def optim_settings(self) -> Any:
        """The section OPTIM with the number of epochs and the learning rate that it stands for, see config.py."""
        optim_cfg = self.cfg.OPTIM.clone()
        optim_cfg.defrost()
        if not optim_cfg.MAX_EPOCH:
            optim_cfg.LR *= math.sqrt(MOST_EPOCHS / self.max_epoch)
        optim_cfg.MAX_EPOCH = self.max_epoch
        return optim_cfg

    def make_classifier(self) -> nn.Module:
        """The classifier at its start, as CLASSIFIER.INIT says."""
        if self.cfg.CLASSIFIER.INIT == "text":
            return text_classifier(self.embeddings.class_text, self.embeddings.vlm.logit_scale)
        return random_classifier(self.embeddings.vlm.embedding_dim, self.num_classes, self.seed)

    def make_augmentation(self) -> Augmentation | None:
        """What the method adds to the real embeddings in training; None for nothing."""
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
        """Where the method has a first stage that is fitted for several seeds together: fit and keep it for these."""

    def before_train(self) -> None:
        """Resume where there is a checkpoint, run the first stage, and open tensorboard's event file."""
        make_folder(Path(self.output_dir), "--output-dir")
        self.begun = True
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        self.prepare_training(Path(directory))
        if self.start_epoch < self.max_epoch:
            self.init_writer(str(make_folder(Path(self.output_dir) / "tensorboard", "--output-dir")))
            rate = self.optim_settings().LR
            logger.info("training: epochs %d to %d, learning rate %g", self.start_epoch + 1, self.max_epoch, rate)

    def run_epoch(self) -> None:
        """One pass over the training batches; figures are gathered on the device and read once."""
        with self.clock.timed("stage2"):
            self.set_model_mode("train")
            self.num_batches = len(self.train_loader_x)
            self.train_loader_x.set_epoch(self.epoch)
            sums: dict[str, Any] = defaultdict(float)
            for index, batch in enumerate(self.train_loader_x):
                self.batch_idx = index
                for name, value in self.forward_backward(batch).items():
                    sums[name] += value
            self.report_epoch({name: float(value) / self.num_batches for name, value in sums.items()})
            self.update_lr()

    def forward_backward(self, batch: EmbeddingBatch) -> dict[str, Tensor]:
        """One step on a batch; gives its mean loss and its accuracy in percent as scalar tensors."""
        loss, accuracy = probe_figures(self.model, batch.embedding, batch.label)
        self.optim.zero_grad()
        loss.backward()
        self.optim.step()
        return {"loss": loss.detach(), "accuracy": accuracy}

    def report_epoch(self, means: dict[str, float]) -> None:
        """Write an epoch's figures to tensorboard, and every so often to the log.

        Raises:
            InputError: the loss is no longer finite.
        """
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise InputError(
                f"the loss is {means['loss']} in epoch {self.epoch + 1}: lower OPTIM.LR ({self.cfg.OPTIM.LR})"
            )
        for name, value in means.items():
            self.write_scalar(f"train/{name}", value, self.epoch + 1)
        self.write_scalar("train/lr", self.optim.param_groups[0]["lr"], self.epoch + 1)
        if worth_a_line(self.epoch + 1, self.max_epoch):
            logger.info(
                "%sepoch %d/%d: loss %.4f, training accuracy %.1f %%",
                self.told_as,
                self.epoch + 1,
                self.max_epoch,
                means["loss"],
                means["accuracy"],
            )

    def after_epoch(self) -> None:
        """Under best_val, keep the model that does best on the source domains' validation rows; write checkpoints."""
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=checkpoint.BEST)
        done, every = self.epoch + 1, self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (every > 0 and done % every == 0):
            self.save_model(self.epoch, self.output_dir)

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
        path = self.write_record(Path(self.output_dir))
        logger.info("record: %s", path)

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """See CheckpointedTrainer.load_model; the model is completed too."""
        super().load_model(directory, epoch)
        self.complete_model()

    def complete_model(self) -> None:
        """What is left to do for the trained or loaded model before it is tested: here, average it as CLASSIFIER says.

        Checkpoints hold the model as it was trained, so that it is completed once, whichever way it came.
        """
        weight = averaging_weight(self.cfg)
        if weight == 1.0:
            return
        assert isinstance(self.model, nn.Linear)
        zero_shot = text_classifier(self.embeddings.class_text, self.embeddings.vlm.logit_scale)
        if weight is None:
            rows = self.embeddings.val
            assert rows is not None
            weight = choose_weight(self.model, zero_shot, rows.embedding, rows.label)
            self.keep_choice({"CLASSIFIER.AVERAGE": weight})
        self.model.load_state_dict(average(self.model, zero_shot, weight).state_dict())

    def keep_choice(self, values: dict[str, float]) -> None:
        """Keep for the record what was chosen on validation rows, by its key, and tell it."""
        self.chosen.update(values)
        logger.info("chosen on validation: %s", ", ".join(f"{name} {value:g}" for name, value in values.items()))

    def write_record(self, folder: Path) -> Path:
        """Write into a folder what the run leaves: split.json, predictions, the classifier, and record.json last."""
        split_file, files = write_split(folder, self.dataset, self.cfg), {}
        if not self.cfg.TEST.NO_TEST:
            files[PREDICTIONS_FILE] = write_predictions(folder, self.evaluator.predictions(), self.cfg.TEST.SPLIT)
        digest = self.write_classifier(folder)
        record = make_record(
            seeded(self.cfg, self.seed),
            self.embeddings.vlm,
            source_domains=self.embeddings.source_domains,
            target_domains=self.embeddings.target_domains,
            samples={name: len(rows) for name, rows in self.embeddings.splits().items()},
            split_sha256=file_sha256(split_file),
            results=self.results,
            seconds=self.clock.seconds(),
            chosen=self.chosen,
            together=self.together,
            skipped=self.skipped,
            duplicates=self.duplicates,
            files=files | ({CLASSIFIER_FILE: digest} if digest else {}),
        )
        return write_record(folder, record)

    def write_classifier(self, folder: Path) -> str:
        """Write the model into a folder, for use on images, with its temperature fitted on validation rows alone.

        Returns:
            The sha256 of the file's content; "" where the model cannot be written.
        """
        if not kind_of(self.model):
            logger.warning("%s is not written: a %s has no 'kind'", CLASSIFIER_FILE, type(self.model).__name__)
            return ""
        temperature, rows = 1.0, 0
        if self.val_loader is not None:
            rows = len(self.val_loader.rows)
            temperature = fit_temperature(self.logits_of(self.val_loader), self.val_loader.rows.label)
        saved = SavedClassifier(self.model, self.embeddings.classnames, temperature, rows, self.embeddings.vlm)
        return write_classifier(folder / CLASSIFIER_FILE, saved)

    @torch.no_grad()
    def logits_of(self, loader: RowLoader) -> Tensor:
        """Logits (N, C) of all rows of a loader, in their order, from the model as it stands."""
        self.set_model_mode("eval")
        return torch.cat([self.model_inference(batch.embedding) for batch in loader])

    def loader_of(self, split: str) -> RowLoader:
        """The rows of "val" or "test".

        Raises:
            InputError: there is no validation split.
        """
        loader = self.val_loader if split == "val" else self.test_loader
        if loader is None:
            raise InputError("TEST.SPLIT val: this dataset has no validation split")
        return loader

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on "val" or "test" (left out: TEST.SPLIT); gives the accuracy in percent.

        Raises:
            InputError: "val" is asked for, and there is no validation split.
        """
        split = split or self.cfg.TEST.SPLIT
        loader = self.loader_of(split)
        with self.clock.timed("test"):
            self.set_model_mode("eval")
            self.evaluator.announce = split != "val"
            self.evaluator.reset()
            for batch in loader:
                self.evaluator.process(self.model_inference(batch.embedding), batch.label, batch.domain)
            self.results = dict(self.evaluator.evaluate())
        for name, value in self.results.items():
            self.write_scalar(printable(f"{split}/{name}"), value, self.epoch + 1)
        return float(next(iter(self.results.values())))


def probe_figures(model: Callable[[Tensor], Tensor], embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy in percent of a model on a batch (B, D) with labels (B,), each a scalar tensor."""
    logits = model(embedding)
    return F.cross_entropy(logits, label), 100.0 * (logits.argmax(dim=1) == label).float().mean()


def make_optimizer(model: nn.Module | list[Tensor], optim_cfg: Any) -> torch.optim.Optimizer:
    """The host's optimiser for a model or its parameters, in one pass over them where device and kind have that.

    Raises:
        InputError: a value of OPTIM is out of its range.
    """
    try:
        optimizer: torch.optim.Optimizer = build_optimizer(model, optim_cfg)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"OPTIM.NAME {optim_cfg.NAME} cannot be made from OPTIM: {error}") from error
    for group in optimizer.param_groups:
        if "fused" in group and group["params"][0].device.type in FUSING_DEVICES:
            group["fused"] = True
    return optimizer


def check_optim(optim_cfg: Any, *, linear: bool) -> None:
    """Refuse, before anything is encoded, an OPTIM section that no optimiser and no schedule can be made from.

    Args:
        optim_cfg: the section.
        linear: whether the classifier is one linear layer.

    Raises:
        InputError: names the keys.
    """
    epochs = optim_cfg.MAX_EPOCH or LEAST_EPOCHS
    if epochs < optim_cfg.WARMUP_EPOCH:
        told = (
            f"OPTIM.MAX_EPOCH {epochs}"
            if optim_cfg.MAX_EPOCH
            else f"{epochs} epochs, which OPTIM.STEPS may come to (or give OPTIM.MAX_EPOCH)"
        )
        raise InputError(f"OPTIM.WARMUP_EPOCH {optim_cfg.WARMUP_EPOCH} is more than {told}: lower it")
    if optim_cfg.STAGED_LR and linear:
        raise InputError("OPTIM.STAGED_LR True needs several layers, but the classifier is one: leave it False")
    # Made of a parameter without randomness, so that the run stays the same.
    stand_in = nn.ParameterList([torch.zeros(1)])
    plain = optim_cfg.clone()
    plain.defrost()
    plain.STAGED_LR, plain.MAX_EPOCH = False, epochs
    build_lr_scheduler(make_optimizer(stand_in, plain), plain)


def worth_a_line(epoch: int, epochs: int) -> bool:
    """Whether epoch (from 1) of epochs is one of about ten, spread evenly, that the log tells of."""
    return epoch in (1, epochs) or epoch % max(1, epochs // LOG_LINES) == 0
