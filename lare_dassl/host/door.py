"""The one door to Dassl: the installed Dassl where there is one, else the stand-in in `host/`.

The environment variable LARE_DASSL_HOST chooses: `auto` (default), `dassl` or `builtin`. HOST says which one it is, and
HOST_VERSION its version (for the stand-in: the version of Dassl whose interface it has). `setup_logger` is ours on
both: Dassl's starts another file when a run resumes, and closes standard output at its end.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import LRScheduler

from lare_dassl.errors import InputError, unknown_name
from lare_dassl.methods.shared.schedule import build_lr_scheduler
from lare_dassl.system.log_file import setup_logger
from lare_dassl.system.torchvision_mend import mend

VARIABLE = "LARE_DASSL_HOST"
CHOICES = ("auto", "dassl", "builtin")

_SOURCES = {
    "dassl.config": ("cfg_default", "clean_cfg", "get_cfg_default"),
    "dassl.data.datasets": ("DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"),
    "dassl.engine": ("TRAINER_REGISTRY", "TrainerX", "build_trainer"),
    "dassl.evaluation": ("EVALUATOR_REGISTRY", "Classification", "EvaluatorBase", "build_evaluator"),
    "dassl.optim": ("build_optimizer",),
    "dassl.utils": ("Registry", "set_random_seed"),
}


def _chosen_host() -> str:
    choice = os.environ.get(VARIABLE, "") or "auto"
    if choice not in CHOICES:
        raise unknown_name(f"{VARIABLE} value", choice, CHOICES)
    if choice == "auto":
        return "dassl" if _is_installed() else "builtin"
    if choice == "dassl" and not _is_installed():
        raise InputError(f"{VARIABLE}=dassl, but no Dassl is installed here: install it, or set {VARIABLE}=builtin")
    return choice


def _is_installed() -> bool:
    """Whether there is a Dassl; a mere folder of that name beside the program is none."""
    spec = importlib.util.find_spec("dassl")
    return spec is not None and spec.origin is not None


def _open_dassl() -> SimpleNamespace:
    """All names that this module exports, from the installed Dassl.

    Raises:
        InputError: it cannot be imported. There is no switch to the stand-in: results would come from another host
            than the one that the user believes to run.
    """
    names: dict[str, object] = {}
    try:
        mend()
        names["version"] = getattr(importlib.import_module("dassl"), "__version__", "unknown")
        for source, wanted in _SOURCES.items():
            module = importlib.import_module(source)
            names.update({name: getattr(module, name) for name in wanted})
        _mend_warmup()
    except Exception as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"the installed Dassl cannot be imported ({cause}): mend it, usually with `pip install wilds==1.2.2 gdown "
            f"tabulate tensorboard`, or set {VARIABLE}=builtin to run without it"
        ) from error
    return SimpleNamespace(**names)


def _mend_warmup() -> None:
    """Let trainers written for Dassl warm up too: its own way passes an argument that PyTorch dropped in 2.7.

    CoOp's settings all warm up. Where Dassl's way still works, or there is no warm-up, it stays Dassl's.
    """
    if "verbose" in inspect.signature(LRScheduler.__init__).parameters:
        return
    dassls_own = importlib.import_module("dassl.optim").build_lr_scheduler

    def build(optimizer: Any, optim_cfg: Any) -> Any:
        return (build_lr_scheduler if optim_cfg.WARMUP_EPOCH > 0 else dassls_own)(optimizer, optim_cfg)

    for name, module in list(sys.modules.items()):
        if name.startswith("dassl.") and vars(module).get("build_lr_scheduler") is dassls_own:
            module.build_lr_scheduler = build  # type: ignore[attr-defined]


HOST = _chosen_host()

if TYPE_CHECKING:
    from . import builtin as _host
elif HOST == "dassl":
    _host = _open_dassl()
else:
    _host = importlib.import_module(".builtin", __package__)

HOST_VERSION: str = _host.version

Registry = _host.Registry
TRAINER_REGISTRY = _host.TRAINER_REGISTRY
DATASET_REGISTRY = _host.DATASET_REGISTRY
EVALUATOR_REGISTRY = _host.EVALUATOR_REGISTRY
build_trainer = _host.build_trainer
build_dataset = _host.build_dataset
build_evaluator = _host.build_evaluator
cfg_default = _host.cfg_default
get_cfg_default = _host.get_cfg_default
clean_cfg = _host.clean_cfg
TrainerX = _host.TrainerX
DatasetBase = _host.DatasetBase
Datum = _host.Datum
EvaluatorBase = _host.EvaluatorBase
Classification = _host.Classification
build_optimizer = _host.build_optimizer
set_random_seed = _host.set_random_seed

__all__ = [
    "DATASET_REGISTRY",
    "EVALUATOR_REGISTRY",
    "HOST",
    "HOST_VERSION",
    "TRAINER_REGISTRY",
    "Classification",
    "DatasetBase",
    "Datum",
    "EvaluatorBase",
    "Registry",
    "TrainerX",
    "build_dataset",
    "build_evaluator",
    "build_optimizer",
    "build_trainer",
    "cfg_default",
    "clean_cfg",
    "get_cfg_default",
    "set_random_seed",
    "setup_logger",
]
