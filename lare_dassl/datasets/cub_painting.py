"""CUB-200-2011 photos and CUB-200-Painting: the same 200 bird species in two domains."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lare_dassl.dassl_api import DATASET_REGISTRY, DatasetBase, Datum
from lare_dassl.datasets.domains import chosen_domains
from lare_dassl.datasets.image_tree import dataset_root, folders_in, images_in
from lare_dassl.datasets.splits import Split, check_fractions, few_shot, split_by_hash
from lare_dassl.errors import InputError

PHOTO, PAINTING = "photo", "painting"
PHOTO_FOLDER, PAINTING_FOLDER = "CUB_200_2011", "CUB-200-Painting"
PHOTO_SOURCE = "CUB_200_2011.tgz from data.caltech.edu, record 65de6-vp158"
PAINTING_SOURCE = "the archive of the PAN authors, Google Drive file 1G327KsD93eyGTjMmByuVy9sk4tlEOyK3"
SHOWN_NAMES = 5


@dataclass(frozen=True)
class Counts:
    """What a complete copy of the two trees holds."""

    classes: int = 200
    photos: int = 11_788
    train: int = 5_994
    test: int = 5_794
    paintings: int = 3_047


COUNTS = Counts()


@dataclass(frozen=True)
class Photos:
    """The official lists of CUB-200-2011.

    Attributes:
        classnames: names of the classes in order of their labels, without numbers ("Black_footed_Albatross").
        label: label of each image, by its path below `images/`.
        train: paths of the official training images, in official order.
        test: paths of the official test images, in official order.
    """

    classnames: list[str]
    label: dict[str, int]
    train: list[str]
    test: list[str]


@DATASET_REGISTRY.register()
class CUBPainting(DatasetBase):
    """Train on bird photos, test on other photos and on paintings of the same species.

    DATASET.ROOT holds two folders: `CUB_200_2011/` with the official `images.txt`, `image_class_labels.txt`,
    `train_test_split.txt`, `classes.txt` and `images/`, and `CUB-200-Painting/` with a folder `NNN.Name/` per class.
    ROOT may also be `CUB_200_2011/` itself, with `CUB-200-Painting/` beside it or in it. Paintings are matched to the
    classes by name, never by number, and are only read where painting is a target.

    The official test photos are the in-domain test; the paintings, all of them test, the out-of-domain one. The
    official 5,994 training photos are split within each class by a stable hash: DATASET.VAL_FRACTION of them are val,
    the rest train; 0 trains on all of them, as the paper does, and leaves val empty. DATASET.TEST_FRACTION is not used.

    Raises:
        InputError: a file is missing or malformed, counts or class names differ from the published ones, painting is
            asked for as a source, or the domains or DATASET.NUM_SHOTS do not fit.
    """

    domains = (PHOTO, PAINTING)

    def __init__(self, cfg: Any) -> None:
        self.domain_names = list(self.domains)
        source, target = chosen_domains(cfg, self.domain_names, [PHOTO], [PAINTING])
        self.source_domains, self.target_domains = source, target
        if PAINTING in source:
            raise InputError("the paintings of CUBPainting are for testing only: use --source-domains photo")
        root = dataset_root(cfg, f"{PHOTO_FOLDER}/ and {PAINTING_FOLDER}/")
        images = _photo_root(root) / "images"
        photos = read_photos(images.parent)
        split = _split_training(photos, cfg.DATASET.VAL_FRACTION)
        train, val, test = (
            [_photo(images, path, photos) for path in paths] for paths in (split.train, split.val, photos.test)
        )
        if PAINTING in target:
            test += _paintings(_painting_root(root), photos.classnames)
        self.prompt_classnames = [name.replace("_", " ") for name in photos.classnames]
        super().__init__(train_x=few_shot(train, cfg.DATASET.NUM_SHOTS, cfg.SEED), val=val, test=test)


def read_photos(folder: Path) -> Photos:
    """Read and check the official lists in the folder `CUB_200_2011`.

    Raises:
        InputError: a list or an image is missing, a line is malformed, or a count is not the published one.
    """
    path_of = _read_list(folder / "images.txt")
    number_of = _read_list(folder / "image_class_labels.txt")
    in_train = _read_list(folder / "train_test_split.txt")
    classes = _read_list(folder / "classes.txt")
    for name, column in (("image_class_labels.txt", number_of), ("train_test_split.txt", in_train)):
        if column.keys() != path_of.keys():
            raise InputError(f"'{folder / name}' lists other images than images.txt: get {PHOTO_SOURCE} anew")
    unknown = sorted(set(number_of.values()) - classes.keys())
    if unknown:
        raise InputError(f"'{folder / 'image_class_labels.txt'}' names class {unknown[0]}, which classes.txt lacks")
    label = {number: place for place, number in enumerate(classes)}
    photos = Photos(
        classnames=[_without_number(name) for name in classes.values()],
        label={path_of[image]: label[number] for image, number in number_of.items()},
        train=[path for image, path in path_of.items() if in_train[image] == "1"],
        test=[path for image, path in path_of.items() if in_train[image] == "0"],
    )
    _check_photos(folder, photos)
    return photos


def _check_photos(folder: Path, photos: Photos) -> None:
    _check_count(folder, "classes", len(photos.classnames), COUNTS.classes, PHOTO_SOURCE)
    _check_count(folder, "photos", len(photos.label), COUNTS.photos, PHOTO_SOURCE)
    _check_count(folder, "training photos", len(photos.train), COUNTS.train, PHOTO_SOURCE)
    _check_count(folder, "test photos", len(photos.test), COUNTS.test, PHOTO_SOURCE)
    missing = [path for path in photos.label if not (folder / "images" / path).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(photos.label)} photos are missing, first '{folder / 'images' / missing[0]}': "
            f"get {PHOTO_SOURCE} anew"
        )


def _read_list(file: Path) -> dict[str, str]:
    """The lines `<number> <value>` of an official list, in their order."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read '{file}': {error}; get {PHOTO_SOURCE}") from error
    values: dict[str, str] = {}
    for place, line in enumerate(lines, start=1):
        number, _, value = line.strip().partition(" ")
        if not number.isdecimal() or not value or number in values:
            raise InputError(f"'{file}' line {place} is not '<new number> <value>': {line!r}; get {PHOTO_SOURCE} anew")
        values[number] = value
    return values


def _split_training(photos: Photos, val_fraction: float) -> Split:
    check_fractions(val_fraction, 0)
    of_class: list[list[str]] = [[] for _ in photos.classnames]
    for path in photos.train:
        of_class[photos.label[path]].append(path)
    split = Split()
    for paths in of_class:
        split.extend(split_by_hash(paths, val_fraction, 0))
    return split


def _photo(images: Path, path: str, photos: Photos) -> Datum:
    label = photos.label[path]
    return Datum(impath=str(images / path), label=label, domain=0, classname=photos.classnames[label])


def _paintings(folder: Path, classnames: Sequence[str]) -> list[Datum]:
    """All paintings, with the labels that the classes of the same names have."""
    label_of = _match_classes(folder, folders_in(folder), classnames)
    items = [
        Datum(impath=str(folder / name / image), label=label, domain=1, classname=classnames[label])
        for name, label in sorted(label_of.items(), key=lambda pair: pair[1])
        for image in images_in(folder / name)
    ]
    _check_count(folder, "paintings", len(items), COUNTS.paintings, PAINTING_SOURCE)
    return items


def _match_classes(folder: Path, painting_folders: Sequence[str], classnames: Sequence[str]) -> Mapping[str, int]:
    """The label of each painting folder, by the name behind its number."""
    label_of_name = {_comparable(name): label for label, name in enumerate(classnames)}
    names = Counter(_comparable(name) for name in painting_folders)
    wrong = [name for name in painting_folders if _comparable(name) not in label_of_name]
    wrong += [name for name in painting_folders if names[_comparable(name)] > 1]
    lacking = [name for name in classnames if _comparable(name) not in names]
    if wrong or lacking:
        raise InputError(
            f"the class folders of '{folder}' are not the classes of {PHOTO_FOLDER}: unknown or double: "
            f"{_shown(wrong)}; missing: {_shown(lacking)}; get {PAINTING_SOURCE}"
        )
    return {name: label_of_name[_comparable(name)] for name in painting_folders}


def _photo_root(root: Path) -> Path:
    for folder in (root / PHOTO_FOLDER, root):
        if (folder / "images.txt").is_file():
            return folder
    raise InputError(f"no '{PHOTO_FOLDER}/images.txt' below DATASET.ROOT '{root}': unpack {PHOTO_SOURCE} there")


def _painting_root(root: Path) -> Path:
    for folder in (root, root.parent):
        if (folder / PAINTING_FOLDER).is_dir() and (folder == root or _photo_root(root) == root):
            return folder / PAINTING_FOLDER
    raise InputError(f"no '{PAINTING_FOLDER}/' below DATASET.ROOT '{root}': unpack {PAINTING_SOURCE} there")


def _check_count(folder: Path, what: str, found: int, expected: int, origin: str) -> None:
    if found != expected:
        raise InputError(f"'{folder}' has {found:,} {what}, expected {expected:,}: get {origin} anew")


def _without_number(name: str) -> str:
    return re.sub(r"^[0-9]+\.", "", name)


def _comparable(name: str) -> str:
    return re.sub(r"[-_ ]+", "_", _without_number(name)).casefold()


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(names[:SHOWN_NAMES]) or "none") + more
