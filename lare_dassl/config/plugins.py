"""Modules of the user that register trainers and datasets."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from lare_dassl.errors import InputError


def load_plugins(modules: Sequence[str], cfg: CfgNode) -> None:
    """Import modules so that they register; one that has `extend_cfg`, as Dassl's train.py does, adds its keys.

    Raises:
        InputError: a module cannot be imported.
    """
    if modules:
        sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            cause = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"--plugin {name} cannot be imported: {cause} (is its folder on PYTHONPATH?)") from error
        if hasattr(module, "extend_cfg"):
            module.extend_cfg(cfg)
