"""Optimisers from the OPTIM section of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn, optim
from torch.optim import Optimizer
from yacs.config import CfgNode

from lare_dassl.errors import InputError, unknown_name


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: CfgNode, param_groups: Iterable[Any] | None = None
) -> Optimizer:
    """The optimiser named by `optim_cfg.NAME`: adam, amsgrad, sgd, rmsprop, radam or adamw.

    Args:
        model: a module, or its parameters.
        optim_cfg: the OPTIM section.
        param_groups: groups of parameters to use instead of `model`.

    Raises:
        InputError: no optimiser has that name, or STAGED_LR is set without a module or without NEW_LAYERS.
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
