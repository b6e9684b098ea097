"""The data of a run on embeddings: its images, encoded now or read from the cache, and checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from yacs.config import CfgNode

from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.encoding.build import build_embeddings
from lare_dassl.encoding.duplicates import check_duplicates
from lare_dassl.errors import InputError

from .stage_clock import StageClock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """A dataset and its embeddings.

    Attributes:
        dataset: the images that can be read.
        embeddings: of these, on the device of the run.
        duplicates: see check_duplicates.
    """

    dataset: ImageDataset
    embeddings: EmbeddingSet
    duplicates: dict[str, int]


def read_data(
    cfg: CfgNode, device: torch.device, clock: StageClock, *, describe_domains: bool, choices: Mapping[str, str]
) -> RunData:
    """The data that a configuration names.

    Args:
        cfg: the whole configuration.
        device: of the embeddings.
        clock: takes the time of the stage "encode".
        describe_domains: see build_embeddings.
        choices: settings that need validation rows, each with what to do where there are none.

    Raises:
        InputError: the data cannot be used, or lack the validation rows that a setting needs.
    """
    with clock.timed("encode"):
        dataset = open_dataset(cfg)
        # Before anything is encoded.
        if choices and not dataset.has_validation:
            setting, instead = next(iter(choices.items()))
            raise InputError(f"{setting} needs a validation split, which this dataset lacks: {instead}")
        encoded = build_embeddings(cfg, dataset, describe_domains=describe_domains)
    if encoded.report.images:
        logger.info("embeddings: %d images, %d decoded now", encoded.report.images, encoded.report.decoded)
    duplicates = check_duplicates(cfg, encoded.dataset, encoded.embeddings)
    return RunData(encoded.dataset, encoded.embeddings.to(device), duplicates)
