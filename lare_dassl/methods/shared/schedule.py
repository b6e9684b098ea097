"""Learning rates by epoch, from the OPTIM section of the configuration: closed forms, with or without warm-up."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode

from lare_dassl.errors import InputError, unknown_name

Shape = Callable[[int], float]


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> LambdaLR:
    """The learning rate by epoch: `single_step`, `multi_step` or `cosine`, after a warm-up if one is asked for.

    It is a closed form of the epoch, so its state holds numbers alone: a resumed run continues exactly, and the
    checkpoint loads with `weights_only=True`. A resumed run follows the schedule of its own configuration.

    Args:
        optimizer: its groups' learning rates are the ones to start from.
        optim_cfg: the OPTIM section.

    Raises:
        InputError: LR_SCHEDULER, STEPSIZE or WARMUP_TYPE has a value that is not known.
    """
    shape = _shape(optim_cfg)
    if optim_cfg.WARMUP_EPOCH > 0 and optim_cfg.WARMUP_TYPE not in ("constant", "linear"):
        raise unknown_name("warm-up (OPTIM.WARMUP_TYPE)", optim_cfg.WARMUP_TYPE, ("constant", "linear"))
    return LambdaLR(optimizer, [_with_warmup(shape, group["lr"], optim_cfg) for group in optimizer.param_groups])


def _shape(optim_cfg: CfgNode) -> Shape:
    """The factor on the learning rate at each epoch, without warm-up."""
    builders = {"single_step": _single_step, "multi_step": _multi_step, "cosine": _cosine}
    if optim_cfg.LR_SCHEDULER not in builders:
        raise unknown_name("schedule (OPTIM.LR_SCHEDULER)", optim_cfg.LR_SCHEDULER, builders)
    return builders[optim_cfg.LR_SCHEDULER](optim_cfg)


def _single_step(optim_cfg: CfgNode) -> Shape:
    gamma, stepsize = optim_cfg.GAMMA, optim_cfg.STEPSIZE
    step = stepsize[-1] if isinstance(stepsize, (list, tuple)) else stepsize
    if not isinstance(step, int):
        raise InputError(f"OPTIM.STEPSIZE is {stepsize!r}: single_step takes a whole number of epochs")
    width = step if step > 0 else optim_cfg.MAX_EPOCH
    return lambda epoch: gamma ** (epoch // width)


def _multi_step(optim_cfg: CfgNode) -> Shape:
    gamma, stepsize = optim_cfg.GAMMA, optim_cfg.STEPSIZE
    if not isinstance(stepsize, (list, tuple)) or not all(isinstance(step, int) for step in stepsize):
        raise InputError(f"OPTIM.STEPSIZE is {stepsize!r}: multi_step takes a list of epochs")
    milestones = sorted(step for step in stepsize if step >= 0)
    return lambda epoch: gamma ** bisect_right(milestones, epoch)


def _cosine(optim_cfg: CfgNode) -> Shape:
    epochs = optim_cfg.MAX_EPOCH
    return lambda epoch: (1.0 + math.cos(math.pi * epoch / epochs)) / 2.0


def _with_warmup(shape: Shape, base_lr: float, optim_cfg: CfgNode) -> Shape:
    """The factor of one parameter group: the warm-up's for its epochs, then the schedule's."""
    warmup = optim_cfg.WARMUP_EPOCH
    if warmup <= 0 or base_lr == 0:
        return shape

    def factor(epoch: int) -> float:
        if epoch < warmup:
            return _warmup_factor(epoch, base_lr, optim_cfg)
        return shape(epoch - warmup) if optim_cfg.WARMUP_RECOUNT else _ratio(shape(epoch), shape(warmup))

    return factor


def _warmup_factor(epoch: int, base_lr: float, optim_cfg: CfgNode) -> float:
    if optim_cfg.WARMUP_TYPE == "constant":
        return optim_cfg.WARMUP_CONS_LR / base_lr
    return epoch / optim_cfg.WARMUP_EPOCH if epoch else optim_cfg.WARMUP_MIN_LR / base_lr


def _ratio(now: float, start: float) -> float:
    """Without a recount the schedule runs on from the warm-up's last epoch, but from the full learning rate."""
    return now / start if start else 0.0
