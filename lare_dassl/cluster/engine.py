"""Where the work of a command is done: in this process and its children, or on a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lare_dassl.config.allowed import Allowed, check_flag
from lare_dassl.embeddings.cache.hashes import cache_folder
from lare_dassl.errors import InputError

from .ray_tasks import Cluster, connected

PATIENCE_SECONDS = 60.0
# What stands for each flag where there is no cluster.
LOCAL: dict[str, Any] = {"engine": "local", "ray_address": "", "ray_cpus": None, "ray_gpus": None, "ray_wait": None}

RANGES = {"ray_cpus": Allowed(0.01), "ray_gpus": Allowed(0), "ray_wait": Allowed(0)}


def check_engine(arguments: argparse.Namespace) -> None:
    """Refuse flags of another engine, and values out of their range.

    Raises:
        InputError: names the flag.
    """
    for name, left_out in LOCAL.items():
        value = getattr(arguments, name)
        if arguments.engine == "local" and value != left_out:
            raise InputError(f"--{name.replace('_', '-')} has no effect without --engine ray")
        if name in RANGES:
            check_flag(f"--{name.replace('_', '-')}", value, RANGES[name])


@contextmanager
def cluster_of(
    arguments: argparse.Namespace, cache_dir: str, folders: Mapping[str, Path] | None = None
) -> Iterator[Cluster | None]:
    """The cluster that the flags name, for as long as the block runs; None where they name none.

    Args:
        arguments: a command line with the flags of tools/arguments.py's add_engine_flags.
        cache_dir: EMBEDDINGS.CACHE_DIR.
        folders: that all nodes must share beside the cache, by the flag that names each.

    Raises:
        InputError: see check_engine and connected.
    """
    check_engine(arguments)
    if arguments.engine == "local":
        yield None
        return
    cache = cache_folder(cache_dir).absolute()
    wait = PATIENCE_SECONDS if arguments.ray_wait is None else arguments.ray_wait
    with connected(
        arguments.ray_address,
        {"EMBEDDINGS.CACHE_DIR": cache, **(folders or {})},
        {"LARE_DASSL_CACHE": str(cache)},
        patience=wait,
        cpus=arguments.ray_cpus,
        gpus=arguments.ray_gpus,
    ) as cluster:
        yield cluster
