"""Runs that differ in their seed alone, trained together: stacked parameters, batched products, CUDA graphs on a GPU.

Each run keeps its own data, order, samples, checkpoints, log and record, as if it had been trained alone; only the
rounding of the products differs. S: runs, B: real embeddings of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.embeddings.loaders import MixedLoader
from lare_dassl.methods.shared.seeds_together import RepeatedStep, StackedNetworks, recordable, set_learning_rate

from .description import description_of
from .embedding_trainer import EmbeddingTrainer
from .optimisation import make_optimizer, probe_figures
from .run_identity import kept_checkpoints, settings_but_seed


def reason_apart_by_settings(cfgs: Sequence[CfgNode]) -> str:
    """Why runs of these configurations cannot be trained together, before any data are read; "" where nothing says so.

    A class that inherits a trainer of ours may do its step in another way, so each class has to say that it is joint.
    """
    method = description_of(cfgs[0].TRAINER.NAME)
    hindrances = {
        f"{cfgs[0].TRAINER.NAME} is not trained for several seeds together": not (method and method.joint),
        "they differ in more than their seed": _differ(map(settings_but_seed, cfgs)),
        "some of them go on from a checkpoint": any(map(_begun, cfgs)),
    }
    return next((reason for reason, holds in hindrances.items() if holds), "")


def reason_apart(trainers: Sequence[EmbeddingTrainer]) -> str:
    """Why these trainers cannot be trained together, in words; "" where they can."""
    texts = [trainer.embeddings.class_text for trainer in trainers]
    hindrances = {
        "they have different numbers of images": _differ(trainer.train_rows.embedding.shape for trainer in trainers),
        "they have different class texts": not all(torch.equal(text, texts[0]) for text in texts),
    }
    by_settings = reason_apart_by_settings([trainer.cfg for trainer in trainers])
    return by_settings or next((reason for reason, holds in hindrances.items() if holds), "")


def _differ(values: Iterable[Hashable]) -> bool:
    return len(set(values)) > 1


def _begun(cfg: CfgNode) -> bool:
    return any(kept_checkpoints(Path(cfg.RESUME or cfg.OUTPUT_DIR)))


def train_together(trainers: Sequence[EmbeddingTrainer]) -> None:
    """Do for each trainer what its `train()` does.

    Args:
        trainers: of one method, for which `reason_apart` knows none.

    Raises:
        InputError: see EmbeddingTrainer.train.
    """
    began = time.perf_counter()
    for trainer in trainers:
        trainer.together, trainer.log_prefix = len(trainers), f"seed {trainer.seed}: "
    type(trainers[0]).fit_first_stages(trainers)
    for trainer in trainers:
        trainer.before_train()
    epochs = JointEpochs(trainers)
    for epoch in range(trainers[0].max_epoch):
        started = time.perf_counter()
        figures = epochs.run(epoch)
        share = (time.perf_counter() - started) / len(trainers)
        for trainer, means in zip(trainers, figures, strict=True):
            trainer.epoch = epoch
            trainer.clock.add("stage2", share)
            trainer.report_epoch(means)
            # Its parameters have no gradients, so this changes nothing; but a schedule waits for it.
            trainer.optim.step()
            trainer.update_lr()
            trainer.after_epoch()
    for trainer in trainers:
        trainer.clock.share(began, len(trainers))
    for trainer in trainers:
        trainer.after_train()


class JointEpochs:
    """The epochs of stage 2 of several trainers, whose models they train in place.

    Args:
        trainers: ready to train, each with its loader.
    """

    def __init__(self, trainers: Sequence[EmbeddingTrainer]) -> None:
        self._trainers = trainers
        self._loaders: list[MixedLoader] = [trainer.train_loader_x for trainer in trainers]
        self._device = trainers[0].device
        self._generators = [torch.Generator(self._device) for _ in trainers]
        self._networks = StackedNetworks([trainer.model for trainer in trainers])
        self._of_batch = self._networks.each(probe_figures)
        self._optimizer = self._make_optimizer()
        self._repeated = RepeatedStep(self._device, self._generators)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        trainer = self._trainers[0]
        optimizer = make_optimizer(list(self._networks.parameters.values()), trainer.optim_settings())
        for group in optimizer.param_groups:
            group.update(recordable(group["lr"], self._device))
        return optimizer

    def run(self, epoch: int) -> list[dict[str, float]]:
        """One pass of each trainer over its batches; gives for each the means of its figures."""
        set_learning_rate(self._optimizer, self._trainers[0].optim.param_groups[0]["lr"])
        started = zip(self._loaders, self._generators, strict=True)
        orders = torch.stack([loader.start_epoch(epoch, generator) for loader, generator in started])
        sums = torch.zeros(1, device=self._device)
        for rows in orders.split(self._loaders[0].batch_size, dim=1):
            sums = sums + self._repeated(self._step, rows)
        self._share_state()
        means = (sums / len(self._loaders[0])).T.tolist()
        return [{"loss": loss, "accuracy": accuracy} for loss, accuracy in means]

    def _step(self, rows: Tensor) -> Tensor:
        drawn = zip(self._loaders, rows, self._generators, strict=True)
        batches = [loader.batch(chosen, generator) for loader, chosen, generator in drawn]
        losses, accuracies = self._of_batch(
            torch.stack([batch.embedding for batch in batches]), torch.stack([batch.label for batch in batches])
        )
        self._optimizer.zero_grad()
        losses.sum().backward()
        self._optimizer.step()
        return torch.stack([losses.detach(), accuracies])

    def _share_state(self) -> None:
        """Let the optimiser of each trainer, which goes into its checkpoints, see its part of the joint one's state."""
        for name, stacked in self._networks.parameters.items():
            state = self._optimizer.state[stacked]
            for place, trainer in enumerate(self._trainers):
                own = {key: _part(value, stacked, place) for key, value in state.items()}
                trainer.optim.state[trainer.model.get_parameter(name)] = own


def _part(value: Any, stacked: Tensor, place: int) -> Any:
    """The share of one run in a part of the joint optimiser's state: its own slice, or the whole of a common one."""
    return value[place] if isinstance(value, Tensor) and value.shape == stacked.shape else value
