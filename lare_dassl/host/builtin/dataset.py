"""Datasets as lists of labelled image paths."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.errors import InputError, unknown_name

from .registry import Registry

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: CfgNode) -> Any:
    """The dataset named by `cfg.DATASET.NAME`.

    Raises:
        InputError: no dataset of that name is registered.
    """
    return DATASET_REGISTRY.find(cfg.DATASET.NAME)(cfg)


@dataclass(frozen=True)
class Datum:
    """One labelled image.

    Args:
        impath: path of the image file.
        label: class, counted from 0.
        domain: domain, counted from 0.
        classname: name of the class.

    Raises:
        InputError: there is no file at `impath`.
    """

    impath: str = ""
    label: int = 0
    domain: int = 0
    classname: str = ""

    def __post_init__(self) -> None:
        if not Path(self.impath).is_file():
            raise InputError(f"no image file at '{self.impath}': check DATASET.ROOT")


class DatasetBase:
    """Base class of datasets: lists of images, and the classes read from the training images.

    Args:
        train_x: labelled training images.
        train_u: unlabelled training images.
        val: validation images.
        test: test images.

    Raises:
        InputError: `train_x` is empty.
    """

    dataset_dir = ""
    domains: Sequence[str] = []

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        if not train_x:
            raise InputError(f"dataset '{type(self).__name__}' has no training images")
        self._train_x, self._train_u, self._val, self._test = train_x, train_u, val, test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self) -> list[Datum]:
        """Labelled training images."""
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        """Unlabelled training images, or None."""
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        """Validation images, or None."""
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        """Test images, or None."""
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in the order of their labels."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        """One more than the highest training label."""
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: Iterable[Datum]) -> int:
        """One more than the highest label among the images."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Iterable[Datum]) -> tuple[dict[int, str], list[str]]:
        """Class name of each label, and the same names in the order of their labels."""
        names = {item.label: item.classname for item in data_source}
        return names, [names[label] for label in sorted(names)]

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        """Refuse empty lists of domains and names that the dataset does not have.

        Raises:
            InputError: names the key of the empty list, or the unknown name and the nearest one.
        """
        for key, domains in (("SOURCE_DOMAINS", source_domains), ("TARGET_DOMAINS", target_domains)):
            if not domains:
                raise InputError(f"DATASET.{key} is empty: give at least one of {', '.join(self.domains)}")
            self.is_input_domain_valid(domains)

    def is_input_domain_valid(self, input_domains: Iterable[str]) -> None:
        """Refuse names of domains that the dataset does not have.

        Raises:
            InputError: names the unknown domain and the nearest one.
        """
        for domain in input_domains:
            if domain not in self.domains:
                raise unknown_name("domain", domain, self.domains)

    def generate_fewshot_dataset(self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False) -> Any:
        """Keep `num_shots` images of each class, drawn with Python's random module.

        Args:
            data_sources: lists of images.
            num_shots: images per class; below 1 the lists stay as they are.
            repeat: draw with replacement from a class that has fewer images, to reach `num_shots`.

        Returns:
            The drawn list, or a list of lists where several were given.
        """
        drawn = list(data_sources)
        if num_shots >= 1:
            drawn = [self._few(source, num_shots, repeat) for source in data_sources]
        return drawn[0] if len(drawn) == 1 else drawn

    def _few(self, source: list[Datum], num_shots: int, repeat: bool) -> list[Datum]:
        kept: list[Datum] = []
        for items in self.split_dataset_by_label(source).values():
            if len(items) >= num_shots:
                kept += random.sample(items, num_shots)
            else:
                kept += random.choices(items, k=num_shots) if repeat else items
        return kept

    def split_dataset_by_label(self, data_source: Iterable[Datum]) -> dict[int, list[Datum]]:
        """The images of each label."""
        groups: dict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups

    def split_dataset_by_domain(self, data_source: Iterable[Datum]) -> dict[int, list[Datum]]:
        """The images of each domain."""
        groups: dict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.domain].append(item)
        return groups
