"""A run of LARE with its regions, rebuilt from its folder.

N: training rows, D: embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from lare_dassl.config import merging
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.split_file import FILE_NAME as SPLIT_FILE
from lare_dassl.datasets.base.split_file import image_names, without_names
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.encoding.build import build_embeddings
from lare_dassl.errors import InputError, all_printable, printable, unknown_name
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io import checkpoint
from lare_dassl.io.json_files import read_json
from lare_dassl.methods.lare.regions import RegionNetwork, Regions
from lare_dassl.results.record import FILE_NAME, read_record
from lare_dassl.trainers.base.run_identity import check_same_record
from lare_dassl.trainers.lare import LARE


@dataclass(frozen=True)
class ShownRows:
    """Names and pictures of the rows of a split.

    Attributes:
        names: of each row, its image as split.json names it, or its row number in an embedding file.
        pictures: the image file of each row; None for an embedding file, which has none.
    """

    names: list[str]
    pictures: list[Path] | None


@dataclass(frozen=True)
class InsideRun:
    """A run with regions, rebuilt from its folder.

    Attributes:
        folder: of the run.
        seed: of the run; regional samples are drawn from it.
        embeddings: what the run was trained and tested on.
        regions: the trained regions of the training rows, corners (N, D).
        train: what to show of the training rows.
        test: what to show of the test rows.
    """

    folder: Path
    seed: int
    embeddings: EmbeddingSet
    regions: Regions
    train: ShownRows
    test: ShownRows


def check_run(folder: Path) -> None:
    """Refuse a folder that is no run with regions.

    Raises:
        InputError: there is no record, or no region network beside it.
    """
    record = read_record(folder / FILE_NAME)
    if checkpoint.latest(folder / LARE.stage_folder) is None:
        raise InputError(f"--run {folder} is a run of {record.trainer} without regions: give one of LARE")


def open_run(folder: Path) -> InsideRun:
    """Rebuild what a run saw, through the encoding cache, and the regions that it learned.

    Raises:
        InputError: the record, the data or the region network is gone, damaged, or no longer what it was.
    """
    cfg = recorded_config(folder)
    if cfg.DATASET.NAME not in DATASET_REGISTRY.registered_names():
        raise unknown_name("dataset", cfg.DATASET.NAME, DATASET_REGISTRY.registered_names())
    try:
        encoded = build_embeddings(cfg, _images_of_run(folder, open_dataset(cfg)), describe_domains=False)
    except OSError as error:
        raise InputError(f"the data of {folder} cannot be read: {error}") from error
    dataset, embeddings = encoded.dataset, encoded.embeddings
    with torch.no_grad():
        regions = _read_network(folder, cfg, embeddings)(embeddings.train.embedding)
    names = image_names(dataset)
    train, test = (
        _shown_rows(names[part], items if dataset.embeddings is None else None)
        for part, items in (("train", dataset.train), ("test", dataset.test))
    )
    return InsideRun(folder, cfg.SEED, _with_printable_names(embeddings), regions, train, test)


def _with_printable_names(embeddings: EmbeddingSet) -> EmbeddingSet:
    return replace(
        embeddings,
        classnames=all_printable(embeddings.classnames),
        domain_names=all_printable(embeddings.domain_names),
        source_domains=all_printable(embeddings.source_domains),
        target_domains=all_printable(embeddings.target_domains),
    )


def recorded_config(folder: Path) -> CfgNode:
    """The configuration of the run in a folder; keys that its record lacks have their defaults, unknown ones are left.

    Raises:
        InputError: there is no record, or a value in it is of a type or range that the key no longer has.
    """
    path = folder / FILE_NAME
    cfg = merging.new_config()
    known = {key for key, _ in merging.leaf_keys(cfg)}
    entries = tuple(f"{mapping}." for mapping in merging.MAPPINGS)
    for key, value in read_record(path).settings.items():
        if key in known or key.startswith(entries):
            merging.merge_key(cfg, key, value, where=str(path))
    cfg.freeze()
    return cfg


def _images_of_run(folder: Path, dataset: ImageDataset) -> ImageDataset:
    """The images that a run saw, without those that it skipped.

    Raises:
        InputError: split.json is damaged, or lists others than the dataset gives now.
    """
    path = folder / SPLIT_FILE
    try:
        kept = read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(kept, dict):
        raise InputError(f"{path} is damaged: it holds no object")
    skipped = kept.get("skipped")
    skipped_keys = set(map(str, chain.from_iterable(skipped.values()))) if isinstance(skipped, dict) else set()
    seen = without_names(dataset, skipped_keys)
    names = image_names(seen)
    for part in ("train", "test"):
        if kept.get(part) != names[part]:
            raise InputError(f"the {part} rows of {dataset.name} are no longer those that {path} lists")
    return seen


def _read_network(folder: Path, cfg: Any, embeddings: EmbeddingSet) -> RegionNetwork:
    path = checkpoint.latest(folder / LARE.stage_folder)
    if path is None:
        raise InputError(f"no region network in {folder / LARE.stage_folder}")
    settings = LARE.settings_of(cfg)
    network = RegionNetwork(embeddings.vlm.embedding_dim, settings.hidden_dim, settings.parametrisation)
    state = checkpoint.read(path)
    checkpoint.check_holds(path, state, ["run"])
    check_same_record(folder, path, state)
    checkpoint.load_weights(network, state, path)
    return network.eval()


def _shown_rows(names: Sequence[Any], items: Sequence[ImageItem] | None) -> ShownRows:
    if items is None:
        return ShownRows([f"row {number}" for number in names], None)
    return ShownRows(list(map(printable, names)), [Path(item.path) for item in items])
