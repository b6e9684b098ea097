"""Optimisers and learning rates from the OPTIM section of the configuration."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from yacs.config import CfgNode

from ..errors import InputError, unknown_name

Shape = Callable[[int], float]


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: CfgNode, param_groups: Iterable[Any] | None = None
) -> Optimizer:
    """The optimiser named by `optim_cfg.NAME`: adam, amsgrad, sgd, rmsprop, radam or adamw.

    Args:
        model: a module, or its parameters.
        optim_cfg: the OPTIM section.
        param_groups: groups of parameters to take instead of `model`.

    Raises:
        InputError: no optimiser has that name, or STAGED_LR has no module or no NEW_LAYERS to work on.
    """
    kinds: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
        "adam": (optim.Adam, _betas(optim_cfg)),
        "amsgrad": (optim.Adam, {**_betas(optim_cfg), "amsgrad": True}),
        "sgd": (optim.SGD, _sgd(optim_cfg)),
        "rmsprop": (optim.RMSprop, {"momentum": optim_cfg.MOMENTUM, "alpha": optim_cfg.RMSPROP_ALPHA}),
        "radam": (optim.RAdam, _betas(optim_cfg)),
        "adamw": (optim.AdamW, _betas(optim_cfg)),
    }
    if optim_cfg.NAME not in kinds:
        raise unknown_name("optimiser (OPTIM.NAME)", optim_cfg.NAME, kinds)
    kind, options = kinds[optim_cfg.NAME]
    groups = _groups(model, optim_cfg) if param_groups is None else param_groups
    return kind(groups, **{"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY, **options})


def _betas(optim_cfg: CfgNode) -> dict[str, Any]:
    return {"betas": (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)}


def _sgd(optim_cfg: CfgNode) -> dict[str, Any]:
    return {
        "momentum": optim_cfg.MOMENTUM,
        "dampening": optim_cfg.SGD_DAMPNING,
        "nesterov": optim_cfg.SGD_NESTEROV,
    }


def _groups(model: nn.Module | Iterable[Any], optim_cfg: CfgNode) -> Iterable[Any]:
    if optim_cfg.STAGED_LR:
        return _staged_groups(model, optim_cfg)
    return model.parameters() if isinstance(model, nn.Module) else model


def _staged_groups(model: nn.Module | Iterable[Any], optim_cfg: CfgNode) -> list[dict[str, Any]]:
    new = [optim_cfg.NEW_LAYERS] if isinstance(optim_cfg.NEW_LAYERS, str) else list(optim_cfg.NEW_LAYERS)
    if not isinstance(model, nn.Module) or not new:
        raise InputError("OPTIM.STAGED_LR needs a module and OPTIM.NEW_LAYERS, the names of its new layers")
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, child in model.named_children():
        groups[name in new] += list(child.parameters())
    return [{"params": groups[False], "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": groups[True]}]


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
