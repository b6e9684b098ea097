"""Datasets of Dassl's, CoOp's and other plugins: each is wrapped into an ImageDataset once the host has built it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yacs.config import CfgNode

from lare_dassl.config.split_settings import ALL_SHOTS, SplitSettings
from lare_dassl.errors import InputError
from lare_dassl.host.door import DatasetBase, Datum, build_dataset

from .host_dataset import HostDataset
from .image_dataset import ImageDataset, ImageItem
from .subsets import few_images

logger = logging.getLogger(__name__)


def open_dataset(cfg: CfgNode) -> ImageDataset:
    """The dataset that a configuration names.

    Raises:
        InputError: it cannot be built, or see `as_image_dataset`.
    """
    return as_image_dataset(build_dataset(cfg), cfg)


def as_image_dataset(dataset: DatasetBase, cfg: CfgNode) -> ImageDataset:
    """The ImageDataset of a dataset that the host built from a configuration.

    To datasets that are not ours, DATASET.NUM_SHOTS and DATASET.LONG_TAIL are applied here, but for the shots where the
    dataset has applied them itself; its long tail then starts from DATASET.NUM_SHOTS, or from its smallest class where
    that has fewer.

    Raises:
        InputError: see ImageDataset and `few_images`.
    """
    if isinstance(dataset, HostDataset):
        return dataset.images
    settings = _still_to_apply(dataset.train_x, SplitSettings.from_cfg(cfg))
    return few_images(_wrapped(dataset, cfg), settings, cfg.SEED)


def check_split_applied(cfg: CfgNode, dataset: DatasetBase) -> None:
    """Refuse what a trainer that reads `train_x` itself would not respect.

    Raises:
        InputError: the dataset does not apply DATASET.NUM_SHOTS or DATASET.LONG_TAIL, or lists images that are no
            files.
    """
    if isinstance(dataset, HostDataset):
        no_files = dataset.images.no_files
        if no_files:
            raise InputError(f"{len(no_files)} images are links to nothing or no files, the first is {min(no_files)}")
        return
    settings = SplitSettings.from_cfg(cfg)
    if settings.ratio != 1:
        raise InputError(
            f"{cfg.DATASET.NAME} knows no DATASET.LONG_TAIL, and {cfg.TRAINER.NAME} trains on all that it gives: "
            "leave DATASET.LONG_TAIL.RATIO at 1"
        )
    if not _shots_applied(dataset.train_x, settings.shots):
        raise InputError(
            f"{cfg.DATASET.NAME} knows no DATASET.NUM_SHOTS: it gives {len(dataset.train_x)} training images, and "
            f"{cfg.TRAINER.NAME} trains on all of them: leave DATASET.NUM_SHOTS at -1"
        )


def _shots_applied(items: Iterable[Datum], shots: int) -> bool:
    """True where no class has more than `shots` images in any domain; some datasets count shots by domain."""
    counts = Counter((item.label, item.domain) for item in items)
    return shots == ALL_SHOTS or max(counts.values(), default=0) <= shots


def _still_to_apply(items: Sequence[Datum], settings: SplitSettings) -> SplitSettings:
    if settings.shots == ALL_SHOTS or not items or not _shots_applied(items, settings.shots):
        return settings
    if settings.ratio == 1:
        return SplitSettings()
    fewest = min(Counter(item.label for item in items).values())
    return replace(settings, shots=min(settings.shots, fewest))


def _wrapped(dataset: DatasetBase, cfg: CfgNode) -> ImageDataset:
    domains = _domains_of(dataset, cfg)
    return ImageDataset(
        name=cfg.DATASET.NAME,
        train=domains.items(dataset.train_x),
        val=domains.items(dataset.val or []),
        test=domains.items(dataset.test or [], offset=domains.test_offset),
        classnames=_classnames(dataset),
        domain_names=[*domains.sources, *domains.targets],
        source_domains=domains.sources,
        target_domains=domains.targets,
        root=cfg.DATASET.ROOT,
        val_is_source=domains.numbered,
    )


@dataclass(frozen=True)
class _Domains:
    """The domains of a dataset that is not ours.

    Attributes:
        sources, targets: their names.
        test_offset: to add to the domain index of a test image: some datasets count the targets from 0 again.
        numbered: False ignores the images' domain numbers: train and val are one domain, test another.
    """

    sources: Sequence[str]
    targets: Sequence[str]
    test_offset: int = 0
    numbered: bool = True

    def items(self, data: Iterable[Datum], offset: int = 0) -> list[ImageItem]:
        return [ImageItem(one.impath, one.label, (one.domain if self.numbered else 0) + offset) for one in data]


def _domains_of(dataset: DatasetBase, cfg: CfgNode) -> _Domains:
    """How a dataset numbers its domains.

    Dassl's own datasets for domain generalisation number the source domains in train and val and the target domains in
    test, each from 0. Dassl's WILDS datasets number their splits apart and name nothing: theirs are called train and
    test. All others have one domain.
    """
    sources, targets = cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS
    if dataset.domains and sources and targets:
        return _Domains(sources, targets, test_offset=len(sources))
    if any(item.domain for item in [*dataset.train_x, *(dataset.test or [])]):
        return _Domains(["train"], ["test"], test_offset=1, numbered=False)
    return _Domains([cfg.DATASET.NAME], [])


def _classnames(dataset: DatasetBase) -> list[str]:
    """The class names of a dataset; some of Dassl's name none, and then their folders' names serve."""
    names = {item.label: item.classname for item in dataset.train_x}
    if not all(names.values()):
        logger.warning("dataset %s names no classes: their folders' names serve", type(dataset).__name__)
        names = {item.label: Path(item.impath).parent.name for item in dataset.train_x}
    return [names.get(label, f"label {label}") for label in range(dataset.num_classes)]
