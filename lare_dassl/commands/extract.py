"""The command `extract`: encode a dataset and write its embeddings to one file."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from rich.table import Table

from lare_dassl.cluster.engine import cluster_of
from lare_dassl.config.assembly import merge_sources
from lare_dassl.config.request import ExtractRequest
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.embeddings.embedding_file import write_embedding_file
from lare_dassl.encoding.build import EncodedDataset, build_embeddings, check_names_and_texts
from lare_dassl.encoding.duplicates import check_duplicates
from lare_dassl.encoding.shards import ahead_on
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io.files import check_file, make_folder
from lare_dassl.system.cores import use_threads
from lare_dassl.system.logs import start_logging
from lare_dassl.trainers.base.description import description_of
from lare_dassl.trainers.base.unread_keys import warn_of_unread

from .checks import check_domains, check_name
from .console import show

logger = logging.getLogger(__name__)


def extract(request: ExtractRequest) -> None:
    """Run tools/extract.py.

    Raises:
        InputError: anything in files, keys or values that the user has to mend.
    """
    cfg = merge_sources(request, description_of)
    check_name("dataset", "--dataset-config-file", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_domains(cfg.DATASET.NAME, [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS])
    check_names_and_texts(cfg)
    start_logging()
    warn_of_unread(cfg, on_embeddings=None)
    use_threads(cfg.TRAIN.THREADS)
    check_file(request.output, "--output")
    # Where a list of unreadable images goes.
    cfg.OUTPUT_DIR = str(make_folder(Path(request.output).absolute().parent, "--output"))
    dataset = open_dataset(cfg)
    with cluster_of(request, cfg.EMBEDDINGS.CACHE_DIR) as cluster:
        encoded = build_embeddings(cfg, dataset, describe_domains=True, encode_ahead=ahead_on(cluster))
    check_duplicates(cfg, encoded.dataset, encoded.embeddings)
    write_embedding_file(Path(request.output), encoded.embeddings, getattr(torch, request.dtype))
    logger.info("%d images, %d decoded now", encoded.report.images, encoded.report.decoded)
    show(_counts(encoded))
    show(f"embedding file: {request.output}")


def _counts(encoded: EncodedDataset) -> Table:
    """The images of each split, and how many of them were left out where some were."""
    skipped = count_skipped(encoded.dataset)
    table = Table("split", "images", *(["left out, cannot be read"] if any(skipped.values()) else []))
    for name, rows in encoded.embeddings.splits().items():
        counts = (len(rows), skipped[name])[: len(table.columns) - 1]
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table
