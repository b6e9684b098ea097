"""Makes torchvision importable beside a PyTorch that cannot load its compiled operators.

The usual case is PyTorch's CPU build with the torchvision of the package index. That torchvision registers helpers for
operators that were never declared, so its import fails with "operator torchvision::nms does not exist". Image
transforms need none of these operators, so declaring them is enough; calling one fails with PyTorch's message.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys

import torch

from lare_dassl.errors import InputError

logger = logging.getLogger(__name__)

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
# Operators that torchvision uses without checking that they exist. All are declared at once: a second failed import
# would register the helpers of the first one twice.
_UNGUARDED = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# A declaration lasts as long as its library object.
_declarations: list[torch.library.Library] = []


def mend() -> None:
    """Import torchvision and declare the operators whose absence prevents it; without torchvision do nothing.

    Raises:
        InputError: torchvision cannot be imported even so.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    missing = _missing_operator()
    if missing:
        logger.debug("declaring torchvision's operators: its compiled ones do not load")
        _declare({*_UNGUARDED, missing})
        if _missing_operator():
            raise InputError("torchvision does not fit the installed torch: install the torchvision made for it")


def _missing_operator() -> str:
    """Name of the missing operator that makes torchvision's import fail; "" where the import succeeds."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        found = _MISSING.search(str(error))
        if found is None:
            raise
        _forget_partial_import()
        return found[1]
    return ""


def _forget_partial_import() -> None:
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _declare(operators: set[str]) -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in sorted(operators):
        library.define(operator + _SCHEMA)
    _declarations.append(library)
