"""A dataset as one typed message: its images, and the names of its classes and domains."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.errors import InputError

from .checks import shown_names
from .class_names import prompt_name

SPLITS = ("train", "val", "test")


class ImageItem(NamedTuple):
    """One labelled image, which need not be there.

    Attributes:
        path: path of the image.
        label: class, counted from 0.
        domain: domain, counted from 0.
    """

    path: str
    label: int
    domain: int


@dataclass(frozen=True)
class ImageDataset:
    """The images that a run trains on, selects by and tests on.

    Attributes:
        name: name that the dataset is registered under.
        train, val, test: the images of each split.
        classnames: C names, in the order of the labels.
        domain_names: name of each domain index.
        source_domains: names of the domains trained on.
        target_domains: names of the domains never trained on.
        root: folder that split.json names images relative to.
        prompt_names: the C names as prompts have them; left out, they are made by `prompt_name`.
        val_is_source: False where validation images may be of any domain, so that nothing is selected by them.
        no_files: paths of the images that are no files, such as links to nothing.
        skipped: by split, images that were left out, since they cannot be read.
        rows: by split, row numbers that name the images in split.json in place of paths.
        embeddings: the embeddings of the images, where the dataset brings them.

    Raises:
        InputError: a class has no training image, or a label or a domain is out of range or in the wrong split.

    >>> cat, dog = ImageItem("cat.png", label=0, domain=0), ImageItem("dog.png", label=1, domain=0)
    >>> pets = ImageDataset("Pets", [cat, dog], [], [dog], ["cat", "lap_dog"], ["photo"], ["photo"], [], root=Path())
    >>> pets.prompt_names
    ('cat', 'lap dog')
    >>> ImageDataset("Pets", [cat], [], [dog], ["cat", "dog"], ["photo"], ["photo"], [], root=Path("pets"))
    Traceback (most recent call last):
    lare_dassl.errors.InputError: Pets: 1 of 2 classes have no training image in 'pets': dog; give each at least one, \
beside those for validation and test
    """

    name: str
    train: Sequence[ImageItem]
    val: Sequence[ImageItem]
    test: Sequence[ImageItem]
    classnames: Sequence[str]
    domain_names: Sequence[str]
    source_domains: Sequence[str]
    target_domains: Sequence[str]
    root: str | Path
    prompt_names: Sequence[str] = ()
    val_is_source: bool = True
    no_files: frozenset[str] = frozenset()
    skipped: Mapping[str, Sequence[ImageItem]] = field(default_factory=dict)
    rows: Mapping[str, Sequence[int]] = field(default_factory=dict)
    embeddings: EmbeddingSet | None = None

    def __post_init__(self) -> None:
        if not self.prompt_names:
            object.__setattr__(self, "prompt_names", tuple(map(prompt_name, self.classnames)))
        self._check_trained()
        for split, items in self.splits().items():
            self._check_labels(split, {item.label for item in items})
            self._check_domains(split, {item.domain for item in items})

    def _check_trained(self) -> None:
        trained = {item.label for item in self.train}
        lacking = [name for label, name in enumerate(self.classnames) if label not in trained]
        if lacking:
            raise InputError(
                f"{self.name}: {len(lacking)} of {len(self.classnames)} classes have no training image in "
                f"'{self.root}': {shown_names(lacking)}; give each at least one, beside those for validation and test"
            )

    def _check_labels(self, split: str, labels: set[int]) -> None:
        wrong = sorted(labels - {*range(len(self.classnames))})
        if wrong:
            raise InputError(
                f"{self.name}: a {split} image has label {wrong[0]}, but the {len(self.classnames)} classes that are "
                f"trained on have labels 0 to {len(self.classnames) - 1}"
            )

    def _check_domains(self, split: str, numbers: set[int]) -> None:
        wrong = sorted(numbers - {*range(len(self.domain_names))})
        if wrong:
            known = ", ".join(self.domain_names)
            raise InputError(f"{self.name}: a {split} image is of domain {wrong[0]}, counted from 0: known are {known}")
        allowed = {*self.source_domains, *(self.target_domains if split == "test" else ())}
        for number in sorted(numbers):
            if self.domain_names[number] not in allowed:
                role = "neither a source nor a target domain" if split == "test" else "no source domain"
                raise InputError(f"{self.name}: a {split} image is of '{self.domain_names[number]}', which is {role}")

    def splits(self) -> dict[str, Sequence[ImageItem]]:
        """The images by the name of their split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def items(self) -> list[ImageItem]:
        """The images of all splits, in turn."""
        return [*self.train, *self.val, *self.test]

    def sizes(self) -> dict[str, int]:
        """The number of images of each split."""
        return {name: len(items) for name, items in self.splits().items()}

    def used_splits(self) -> dict[str, Sequence[ImageItem]]:
        """The images that embeddings are needed of; none of val where nothing may be selected by them."""
        return self.splits() | ({} if self.val_is_source else {"val": []})

    @property
    def has_validation(self) -> bool:
        """True where there are validation images to select by."""
        return bool(self.used_splits()["val"])

    def trained_on(self, places: Sequence[int]) -> ImageDataset:
        """The dataset with some of its training images.

        Args:
            places: their places among all training images, ascending.
        """
        rows, embeddings = self.rows, self.embeddings
        if rows:
            rows = {**rows, "train": [rows["train"][place] for place in places]}
        if embeddings is not None:
            embeddings = replace(embeddings, train=embeddings.train.select(torch.tensor(places)))
        return replace(self, train=[self.train[place] for place in places], rows=rows, embeddings=embeddings)

    def without(self, paths: Container[Path]) -> ImageDataset:
        """The dataset with the images at these paths skipped."""
        kept: dict[str, list[ImageItem]] = {}
        skipped = {name: list(self.skipped.get(name, ())) for name in SPLITS}
        for name, items in self.splits().items():
            kept[name] = []
            for item in items:
                (skipped if Path(item.path) in paths else kept)[name].append(item)
        return replace(self, train=kept["train"], val=kept["val"], test=kept["test"], skipped=skipped)
