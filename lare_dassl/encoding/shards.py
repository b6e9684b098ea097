"""The encoding of many images on a cluster: each task encodes a shard into the shared cache."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path

import torch
from tqdm import tqdm
from yacs.config import CfgNode

from lare_dassl.cluster.ray_tasks import GO_ON, SHARE, Cluster
from lare_dassl.embeddings.cache.hashes import cache_folder
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.embeddings.encoder.shard_keeper import SHARD_ROWS
from lare_dassl.errors import ClusterError, InputError, UnreadableError

from .build import EncodeAhead, build_encoder

# Too few shards leave places idle at the end; too many load the model and read the cache more often.
SHARDS_PER_PLACE = 4
GPUS = 1.0


def ahead_on(cluster: Cluster | None) -> EncodeAhead | None:
    """The `encode_ahead` of build_embeddings that encodes on a cluster; None where there is none."""
    return None if cluster is None else partial(encode_on, cluster)


def encode_on(cluster: Cluster, cfg: CfgNode, paths: Sequence[Path]) -> int:
    """Encode the images that are not in the cache yet, on the nodes of a cluster.

    Precision and batches are those of this process, so that the embeddings are the same bits. Images that cannot be
    read stay missing; the next one to ask for them gets the error.

    Returns:
        How many images were not in the cache.

    Raises:
        ClusterError: see Cluster.results; or workers were lost again and again.
    """
    encoded, precision, encoder = 0, "", build_encoder(cfg)
    # Where a low precision fails midway, the cache remembers that, and a new encoder takes another precision.
    while encoder.precision != precision:
        missing = encoder.missing_images(paths)
        precision = encoder.precision
        _send(cluster, _task_cfg(cfg, precision), missing)
        encoded += len(missing)
        encoder = build_encoder(cfg)
    return encoded


def _task_cfg(cfg: CfgNode, precision: str) -> CfgNode:
    """The configuration with precision and cache folder fixed, so that it means the same on another machine."""
    fixed = cfg.clone()
    fixed.defrost()
    fixed.VLM.PRECISION = precision
    fixed.EMBEDDINGS.CACHE_DIR = str(cache_folder(cfg.EMBEDDINGS.CACHE_DIR).absolute())
    return fixed


def _send(cluster: Cluster, cfg: CfgNode, missing: Sequence[Path]) -> None:
    """Encode images, with a progress bar on standard error."""
    demand = cluster.demand(cpus=1, gpus=GPUS if cfg.USE_CUDA else 0)
    size = shard_size(len(missing), cfg.EMBEDDINGS.BATCH_SIZE, cluster.places(demand))
    absolute = [path.absolute() for path in missing]
    shards = [absolute[start : start + size] for start in range(0, len(absolute), size)]
    task = partial(encode_shard, json.dumps(cfg), max(1, int(demand.cpus)))
    with (
        tqdm(total=len(missing), desc="encoding images on Ray", unit="img", disable=not missing) as progress,
        closing(cluster.results(task, shards, demand)) as ended,
    ):
        for shard, outcome in ended:
            if outcome is None:
                raise ClusterError(f"the worker that encoded {shard[0]} was lost again and again; {GO_ON}")
            progress.update(len(shard))


def shard_size(images: int, batch_size: int, places: int) -> int:
    """Images of a shard: whole batches, so that their embeddings are the same bits whoever encodes them."""
    batches = math.ceil(images / (batch_size * places * SHARDS_PER_PLACE))
    return batch_size * max(1, min(batches, SHARD_ROWS // batch_size))


def encode_shard(text: str, threads: int, paths: Sequence[Path]) -> int:
    """Encode images into the cache with so many threads of torch; gives their number. `text` is the config as JSON.

    Raises:
        InputError: this machine does not see a file, or see build_encoder.
    """
    unseen = [path for path in paths if not os.access(path, os.R_OK)]
    if unseen:
        raise InputError(f"{unseen[0]} is not to be seen there (DATASET.ROOT): {SHARE}")
    torch.set_num_threads(threads)
    # The caller, who knows all images, names all that cannot be read.
    with suppress(UnreadableError):
        _encoder(text, threads).encode_images(paths)
    return len(paths)


@cache
def _encoder(text: str, threads: int) -> Encoder:
    """The encoder of a configuration, kept with its model for the next shard."""
    cfg = CfgNode(json.loads(text))
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, threads - 1)
    return build_encoder(cfg)
