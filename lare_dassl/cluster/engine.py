"""Where the work of a command is done: in this process and its children, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lare_dassl.config.request import LOCAL, ClusterRequest
from lare_dassl.embeddings.cache.hashes import cache_folder

from .ray_tasks import Cluster, connected

PATIENCE_SECONDS = 60.0


@contextmanager
def cluster_of(
    request: ClusterRequest, cache_dir: str, folders: Mapping[str, Path] | None = None
) -> Iterator[Cluster | None]:
    """The cluster that a request names, for as long as the block runs; None where it names none.

    Args:
        request: says where the work is done.
        cache_dir: EMBEDDINGS.CACHE_DIR.
        folders: that all nodes must share beside the cache, by the flag that names each.

    Raises:
        InputError: see connected.
    """
    if request.engine == LOCAL:
        yield None
        return
    cache = cache_folder(cache_dir).absolute()
    wait = PATIENCE_SECONDS if request.ray_wait is None else request.ray_wait
    with connected(
        request.ray_address,
        {"EMBEDDINGS.CACHE_DIR": cache, **(folders or {})},
        {"LARE_DASSL_CACHE": str(cache)},
        patience=wait,
        cpus=request.ray_cpus,
        gpus=request.ray_gpus,
    ) as cluster:
        yield cluster
