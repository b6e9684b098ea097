"""Keys that are set, and that neither the trainer nor the dataset of a run reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from yacs.config import CfgNode

from lare_dassl.config.keys import leaf_keys, readers_of, unread
from lare_dassl.config.merging import new_config, use_trainer_defaults
from lare_dassl.datasets.base.host_dataset import brings_embeddings, ignored_keys, is_ours

from .description import description_of

logger = logging.getLogger(__name__)


def warn_of_unread(cfg: CfgNode, *, on_embeddings: bool | None, ignored: Sequence[str] = ()) -> None:
    """Name in one line of the log all keys that are set and read by nothing in the run.

    Args:
        cfg: the whole configuration.
        on_embeddings: the trainer is one of ours; else it is one on images; None where nothing is trained.
        ignored: keys without effect on the trainer, or sections with a dot behind them.
    """
    usual = new_config()
    if description_of(cfg.TRAINER.NAME):
        use_trainer_defaults(usual, cfg.TRAINER.NAME)
    readers = readers_of(
        on_embeddings=on_embeddings,
        our_dataset=is_ours(cfg.DATASET.NAME),
        brings_embeddings=brings_embeddings(cfg.DATASET.NAME),
    )
    names = unread(cfg, readers, (*ignored, *ignored_keys(cfg.DATASET.NAME)), dict(leaf_keys(usual)))
    if names:
        run = f"{'extract' if on_embeddings is None else cfg.TRAINER.NAME} on {cfg.DATASET.NAME}"
        logger.warning("set, but read by nothing in this run of %s: %s", run, ", ".join(names))
