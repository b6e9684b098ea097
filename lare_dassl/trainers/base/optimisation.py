"""The optimiser of stage 2 from the section OPTIM, and the step that it takes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from lare_dassl.errors import InputError
from lare_dassl.host.door import build_optimizer
from lare_dassl.methods.shared.fitting import FUSING_DEVICES, LEAST_EPOCHS, MOST_EPOCHS, epochs_for
from lare_dassl.methods.shared.schedule import build_lr_scheduler

LOG_LINES = 10


def probe_figures(model: Callable[[Tensor], Tensor], embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy in percent of a model on a batch (B, D) with labels (B,), each a scalar tensor."""
    logits = model(embedding)
    return F.cross_entropy(logits, label), 100.0 * (logits.argmax(dim=1) == label).float().mean()


def epochs_of(cfg: CfgNode, rows: int) -> int:
    """The epochs of a training on so many rows: MAX_EPOCH, or as many as make STEPS steps."""
    return cfg.OPTIM.MAX_EPOCH or epochs_for(rows, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.OPTIM.STEPS)


def optim_for(optim_cfg: CfgNode, epochs: int) -> CfgNode:
    """The section OPTIM of a training of so many epochs.

    Where MAX_EPOCH is 0, LR is the learning rate of MOST_EPOCHS: it grows with the square root of what they are
    shortened by.
    """
    optim_cfg = optim_cfg.clone()
    optim_cfg.defrost()
    if not optim_cfg.MAX_EPOCH:
        optim_cfg.LR *= math.sqrt(MOST_EPOCHS / epochs)
    optim_cfg.MAX_EPOCH = epochs
    return optim_cfg


def make_optimizer(model: nn.Module | list[Tensor], optim_cfg: CfgNode) -> torch.optim.Optimizer:
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


def check_optim(optim_cfg: CfgNode, *, linear: bool) -> None:
    """Refuse, before anything is encoded, an OPTIM section that no optimiser and no schedule can be made from.

    Args:
        optim_cfg: the section.
        linear: the classifier is one linear layer.

    Raises:
        InputError: names the keys.
    """
    epochs = optim_cfg.MAX_EPOCH or LEAST_EPOCHS
    if epochs < optim_cfg.WARMUP_EPOCH:
        length = f"OPTIM.MAX_EPOCH {epochs}"
        if not optim_cfg.MAX_EPOCH:
            length = f"{epochs} epochs, which OPTIM.STEPS may come to (or give OPTIM.MAX_EPOCH)"
        raise InputError(f"OPTIM.WARMUP_EPOCH {optim_cfg.WARMUP_EPOCH} is more than {length}: lower it")
    if optim_cfg.STAGED_LR and linear:
        raise InputError("OPTIM.STAGED_LR True needs several layers, but the classifier is one: leave it False")
    # Made of a parameter without randomness, so that the run stays the same.
    stand_in = nn.ParameterList([torch.zeros(1)])
    plain = optim_cfg.clone()
    plain.defrost()
    plain.STAGED_LR, plain.MAX_EPOCH = False, epochs
    build_lr_scheduler(make_optimizer(stand_in, plain), plain)


def worth_a_line(epoch: int, epochs: int) -> bool:
    """True for about ten of the epochs, spread evenly (counted from 1): the log has a line for each of these."""
    return epoch in (1, epochs) or epoch % max(1, epochs // LOG_LINES) == 0
