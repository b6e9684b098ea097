"""The base class of our datasets, as the host registers and builds them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY, DatasetBase, Datum

from .image_dataset import ImageDataset, ImageItem
from .subsets import few_images


class HostDataset(DatasetBase):
    """A dataset of ours: an ImageDataset, with the same images in the lists that Dassl's trainers read.

    A subclass writes `read`. The few shots and the long tail that the configuration asks for are applied here. Images
    that are no files are in the ImageDataset alone, behind the others: the host refuses to list them.

    Attributes:
        domains: names of all domains, where they are known before the data are read.
        brings_embeddings: True for a dataset of embeddings, which needs neither images nor prompts.
        ignores: keys of our datasets that it does not read.
        images: the dataset.

    Raises:
        InputError: see `read`, `few_images` and ImageDataset; or no training image is a file.
    """

    domains: Sequence[str] = ()
    brings_embeddings = False
    ignores: Sequence[str] = ()

    def __init__(self, cfg: Any) -> None:
        whole = self.read(cfg)
        self.images = _files_first(few_images(whole, SplitSettings.from_cfg(cfg), cfg.SEED))
        files = {name: self._listed(items) for name, items in self.images.splits().items()}
        if not files["train"]:
            raise InputError(f"{self.images.name}: none of the {len(self.images.train)} training images is a file")
        super().__init__(train_x=files["train"], val=files["val"], test=files["test"])

    def read(self, cfg: Any) -> ImageDataset:
        """The dataset with all its training images."""
        raise NotImplementedError

    def _listed(self, items: Iterable[ImageItem]) -> list[Datum]:
        # Making a Datum looks for its file on disk, so items that are alike share one.
        datum_of = {item: self._datum(item) for item in set(items) if item.path not in self.images.no_files}
        return list(filter(None, map(datum_of.get, items)))

    def _datum(self, item: ImageItem) -> Datum:
        name = self.images.classnames[item.label]
        return Datum(impath=item.path, label=item.label, domain=item.domain, classname=name)


def _files_first(dataset: ImageDataset) -> ImageDataset:
    """The dataset with the images that are no files named, and behind the others of their split."""
    paths = {item.path for item in dataset.items()}
    # os.path.isfile takes a path that cannot be looked at for no file; Path.is_file raises.
    no_files = frozenset(path for path in paths if not os.path.isfile(path))  # noqa: PTH113
    if not no_files:
        return dataset
    train, val, test = (sorted(items, key=lambda item: item.path in no_files) for items in dataset.splits().values())
    return replace(dataset, train=train, val=val, test=test, no_files=no_files)


def is_ours(name: str) -> bool:
    """True where the dataset that is registered under a name is a HostDataset."""
    kind = DATASET_REGISTRY.get(name)
    return isinstance(kind, type) and issubclass(kind, HostDataset)


def brings_embeddings(name: str) -> bool:
    """True where the dataset that is registered under a name brings its embeddings."""
    return is_ours(name) and bool(DATASET_REGISTRY.get(name).brings_embeddings)


def ignored_keys(name: str) -> Sequence[str]:
    """The keys of our datasets that the dataset registered under a name does not read."""
    return DATASET_REGISTRY.get(name).ignores if is_ours(name) else ()


def known_domains(name: str) -> Sequence[str]:
    """The domains of the dataset that is registered under a name; none where they are not known before it is read."""
    kind = DATASET_REGISTRY.get(name)
    return kind.domains if isinstance(kind, type) and issubclass(kind, DatasetBase) else ()
