"""CUB-200-2011 photos and CUB-200-Painting: the same 200 bird species in two domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lare_dassl.datasets.base.checks import check_count, check_no_repeat, check_tested, refuse_partial, shown_names
from lare_dassl.datasets.base.class_names import comparable_name, without_number
from lare_dassl.datasets.base.domains import chosen_domains
from lare_dassl.datasets.base.hash_split import split_groups
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.image_tree import dataset_root, folders_in, images_in
from lare_dassl.datasets.base.sources import SOURCES, how_to_get
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY

PHOTO, PAINTING = "photo", "painting"
PHOTO_FOLDER, PAINTING_FOLDER = "CUB_200_2011", "CUB-200-Painting"
ORIGIN = "cub"
PHOTO_SOURCE, PAINTING_SOURCE = (source.get for source in SOURCES[ORIGIN])


COUNTS = {"classes": 200, "photos": 11_788, "training photos": 5_994, "test photos": 5_794, "paintings": 3_047}
"""Sizes of a complete copy of the two trees."""


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
class CUBPainting(HostDataset):
    """Train on bird photos, test on other photos and on paintings of the same species.

    DATASET.ROOT holds two folders: `CUB_200_2011/` with the official `images.txt`, `image_class_labels.txt`,
    `train_test_split.txt`, `classes.txt` and `images/`, and `CUB-200-Painting/` with a folder `NNN.Name/` per class.
    ROOT may also be `CUB_200_2011/` itself, with `CUB-200-Painting/` beside it or in it. Paintings are matched to the
    classes by name, never by number, and are only read where painting is a target.

    The official test photos are the in-domain test; the paintings, all of them test, the out-of-domain one. The
    official 5,994 training photos are split within each class by a stable hash: DATASET.VAL_FRACTION of them are val,
    the rest train; 0 trains on all of them, as the paper does, and leaves val empty. DATASET.TEST_FRACTION is not used.

    Raises:
        InputError: a file is missing or malformed, counts or class names differ from the published ones (where
            DATASET.ALLOW_PARTIAL does not take them), painting is asked for as a source, or the domains or shots do not
            fit.
    """

    domains = (PHOTO, PAINTING)
    ignores = ("DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE", "DATASET.FOLDER", "DATASET.EXPECTED_IMAGES")

    def read(self, cfg: Any) -> ImageDataset:
        """The official training photos in train and val, the official test photos and the paintings in test."""
        source, target = chosen_domains(cfg, self.domains, [PHOTO], [PAINTING])
        if PAINTING in source:
            raise InputError("the paintings of CUBPainting are for testing only: use --source-domains photo")
        root = dataset_root(cfg, f"{PHOTO_FOLDER}/ and {PAINTING_FOLDER}/", ORIGIN)
        photo_root = _photo_root(root)
        photos = read_photos(cfg, photo_root)
        of_class: list[list[str]] = [[] for _ in photos.classnames]
        for path in photos.train:
            of_class[photos.label[path]].append(path)
        split = split_groups(of_class, cfg.DATASET.VAL_FRACTION, 0)

        def items(paths: Iterable[str]) -> list[ImageItem]:
            return [ImageItem(f"{photo_root}/images/{path}", photos.label[path], domain=0) for path in paths]

        test = items(photos.test)
        if PAINTING in target:
            test += _paintings(cfg, _painting_root(root), photos.classnames)
        check_tested({self.domains[item.domain] for item in test}, [*source, *target], how_to_get(ORIGIN))
        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=items(split.train),
            val=items(split.val),
            test=test,
            classnames=photos.classnames,
            domain_names=self.domains,
            source_domains=source,
            target_domains=target,
            root=photo_root.parent,
        )


def read_photos(cfg: Any, folder: Path) -> Photos:
    """Read and check the official lists in the folder `CUB_200_2011`.

    Raises:
        InputError: a list or an image is missing, a line is malformed, a photo is named twice or outside of `images/`,
            two classes have one name, or a count is not the published one.
    """
    path_of = _read_list(folder / "images.txt")
    check_no_repeat(folder / "images.txt", enumerate(path_of.values(), start=1), f"get {PHOTO_SOURCE} anew")
    number_of = _read_list(folder / "image_class_labels.txt")
    in_train = _read_list(folder / "train_test_split.txt")
    classes = _read_list(folder / "classes.txt")
    _check_values(folder / "images.txt", path_of, "a path below images/", _is_inside)
    _check_values(folder / "train_test_split.txt", in_train, "0 or 1", lambda value: value in ("0", "1"))
    _check_class_names(folder / "classes.txt", classes)
    for name, column in (("image_class_labels.txt", number_of), ("train_test_split.txt", in_train)):
        if column.keys() != path_of.keys():
            raise InputError(f"'{folder / name}' lists other images than images.txt: get {PHOTO_SOURCE} anew")
    unknown = sorted(set(number_of.values()) - classes.keys())
    if unknown:
        raise InputError(f"'{folder / 'image_class_labels.txt'}' names class {unknown[0]}, which classes.txt lacks")
    label = {number: place for place, number in enumerate(classes)}
    photos = Photos(
        classnames=[without_number(name) for name in classes.values()],
        label={path_of[image]: label[number] for image, number in number_of.items()},
        train=[path for image, path in path_of.items() if in_train[image] == "1"],
        test=[path for image, path in path_of.items() if in_train[image] == "0"],
    )
    _check_counts(cfg, folder, photos)
    return _present(cfg, folder / "images", photos)


def _check_values(file: Path, values: Mapping[str, str], wanted: str, fits: Callable[[str], bool]) -> None:
    for number, value in values.items():
        if not fits(value):
            raise InputError(f"'{file}' gives image {number} {value!r}, which is not {wanted}: get {PHOTO_SOURCE} anew")


def _is_inside(path: str) -> bool:
    return not {"", ".", ".."} & {*path.split("/")} and not {"\\", ":"} & {*path}


def _check_class_names(file: Path, classes: Mapping[str, str]) -> None:
    """Refuse two classes of one name: paintings are matched by name, so one of the two would get none."""
    number_of: dict[str, str] = {}
    for number, name in classes.items():
        before = number_of.setdefault(comparable_name(name), number)
        if before != number:
            raise InputError(
                f"'{file}' gives classes {before} and {number} one name, '{without_number(name)}': get {PHOTO_SOURCE} "
                "anew"
            )


def _check_counts(cfg: Any, folder: Path, photos: Photos) -> None:
    lists = {"classes": photos.classnames, "photos": photos.label}
    lists |= {"training photos": photos.train, "test photos": photos.test}
    for what, found in lists.items():
        check_count(cfg, folder, what, len(found), COUNTS[what], remedy=f"get {PHOTO_SOURCE} anew")


def _present(cfg: Any, images: Path, photos: Photos) -> Photos:
    """The photos that are there: all of them, or those of a partial copy."""
    missing = [path for path in photos.label if not (images / path).is_file()]
    if not missing:
        return photos
    problem = f"{len(missing)} of {len(photos.label)} photos are missing, first '{images / missing[0]}'"
    refuse_partial(cfg, problem, f"get {PHOTO_SOURCE} anew")
    gone = set(missing)
    return replace(
        photos,
        train=[path for path in photos.train if path not in gone],
        test=[path for path in photos.test if path not in gone],
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


def _paintings(cfg: Any, folder: Path, classnames: Sequence[str]) -> list[ImageItem]:
    """All paintings, with the labels that the classes of the same names have."""
    label_of = _match_classes(cfg, folder, folders_in(folder), classnames)
    items = [
        ImageItem(f"{folder}/{name}/{image}", label, domain=1)
        for name, label in sorted(label_of.items(), key=lambda pair: pair[1])
        for image in images_in(folder / name)
    ]
    check_count(cfg, folder, "paintings", len(items), COUNTS["paintings"], remedy=f"get {PAINTING_SOURCE} anew")
    return items


def _match_classes(cfg: Any, folder: Path, found: Sequence[str], classnames: Sequence[str]) -> Mapping[str, int]:
    """The label of each painting folder, by the name behind its number."""
    label_of_name = {comparable_name(name): label for label, name in enumerate(classnames)}
    names = Counter(comparable_name(name) for name in found)
    wrong = [name for name in found if comparable_name(name) not in label_of_name]
    wrong += [name for name in found if names[comparable_name(name)] > 1]
    lacking = [name for name in classnames if comparable_name(name) not in names]
    problem = (
        f"the class folders of '{folder}' are not the classes of {PHOTO_FOLDER}: unknown or double: "
        f"{shown_names(wrong)}; missing: {shown_names(lacking)}"
    )
    if wrong:
        raise InputError(f"{problem}; get {PAINTING_SOURCE}")
    if lacking:
        refuse_partial(cfg, problem, f"get {PAINTING_SOURCE}")
    return {name: label_of_name[comparable_name(name)] for name in found}


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
