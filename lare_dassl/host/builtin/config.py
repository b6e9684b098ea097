"""The configuration of the stand-in for Dassl."""

from __future__ import annotations

from yacs.config import CfgNode

# Empty until the package's import fills it from the table of keys, which is further up (config/keys.py).
cfg_default = CfgNode()


def get_cfg_default() -> CfgNode:
    """A fresh copy of the default configuration, which the caller may change."""
    return cfg_default.clone()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Drop, in place, the TRAINER sections of all trainers but the named one (in upper case)."""
    for key in set(cfg.TRAINER) - {"NAME", trainer.upper()}:
        del cfg.TRAINER[key]
