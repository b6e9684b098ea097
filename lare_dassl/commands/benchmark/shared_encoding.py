"""The encoding that the runs of a benchmark share: done once, before any of them starts."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from lare_dassl.commands.checks import make_config
from lare_dassl.config.keys import encoding_settings
from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.encoding.build import EncodeAhead, build_embeddings
from lare_dassl.errors import ClusterError
from lare_dassl.trainers.base.description import description_of

from .one_run import reason_of
from .plan import PlannedRun


def encode_shared(runs: Iterable[PlannedRun], encode_ahead: EncodeAhead | None = None) -> dict[Path, str]:
    """Encode the images and texts of all runs into the cache.

    Runs of trainers that are not on embeddings are left alone.

    Args:
        runs: see make_plan.
        encode_ahead: see build_embeddings.

    Returns:
        The folder of each run whose data cannot be used, with the reason.

    Raises:
        ClusterError: encode_ahead does.
    """
    refused: dict[Path, str] = {}
    on_embeddings = [planned for planned in runs if description_of(planned.trainer)]
    for members in _grouped(on_embeddings, _data):
        refused |= _encode_group(members, encode_ahead)
    return refused


def _grouped(runs: Iterable[PlannedRun], key: Callable[[PlannedRun], Hashable]) -> list[list[PlannedRun]]:
    groups: dict[Hashable, list[PlannedRun]] = defaultdict(list)
    for planned in runs:
        groups[key(planned)].append(planned)
    return list(groups.values())


def _data(planned: PlannedRun) -> str:
    """A key that runs share which have the same images and the same model."""
    return json.dumps(encoding_settings(planned.config))


def _split(planned: PlannedRun) -> SplitSettings:
    return SplitSettings.from_cfg(planned.config)


def _encode_group(members: Sequence[PlannedRun], encode_ahead: EncodeAhead | None) -> dict[Path, str]:
    """Encode the images of runs on the same data: all of them where one run needs all, else those of each split.

    The images of a few-shot split follow from the seed, but whether there are enough does not.
    """
    methods = filter(None, (description_of(planned.trainer) for planned in members))
    describes = any("domain texts" in method.needs for method in methods)
    with_all_images = any(_split(planned).keeps_all for planned in members)
    refused: dict[Path, str] = {}
    for alike in _grouped(members, lambda planned: (_split(planned), with_all_images or planned.config["SEED"])):
        try:
            encode = not with_all_images or _split(alike[0]).keeps_all
            _load(alike[0], encode=encode, describes=describes, encode_ahead=encode_ahead)
        except ClusterError:
            raise
        except Exception as error:  # a plugin's dataset may raise anything
            refused |= {planned.folder: reason_of(error) for planned in alike}
    return refused


def _load(planned: PlannedRun, encode: bool, describes: bool, encode_ahead: EncodeAhead | None) -> None:
    """Build a run's dataset and split as its trainer will, and encode it where asked to."""
    cfg = make_config(planned.request)
    dataset = open_dataset(cfg)
    if encode:
        build_embeddings(cfg, dataset, describe_domains=describes, encode_ahead=encode_ahead)
