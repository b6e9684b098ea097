"""DomainNet-mini: the 40 classes of DomainNet that LADS and LARE are measured on, in four domains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lare_dassl.datasets.base.checks import check_count, check_no_repeat, check_tested, refuse_partial, shown_names
from lare_dassl.datasets.base.domains import chosen_domains
from lare_dassl.datasets.base.hash_split import split_groups
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.image_tree import dataset_root
from lare_dassl.datasets.base.sources import how_to_get
from lare_dassl.errors import InputError, unreadable
from lare_dassl.host.door import DATASET_REGISTRY

ORIGIN = "domainnet_mini"
FOLDER = "domainnet"
_CLASS_WORDS = """
    airplane ambulance apple backpack banana bathtub bear bed bee bicycle bird book bridge bus butterfly cake calculator
    camera car cat chair clock cow dog dolphin donut drums duck elephant fence fork horse house rabbit scissors sheep
    strawberry table telephone truck
"""
CLASSES = tuple(_CLASS_WORDS.split())
"""The 40 classes, in the order of their labels."""

COUNTS = {
    ("clipart", "train"): 3_707,
    ("clipart", "test"): 1_616,
    ("painting", "train"): 6_727,
    ("painting", "test"): 2_909,
    ("real", "train"): 16_141,
    ("real", "test"): 6_943,
    ("sketch", "train"): 5_537,
    ("sketch", "test"): 2_399,
}
"""Images of the 40 classes in each official list, by domain and split."""

PathsByClass = dict[str, list[str]]


@DATASET_REGISTRY.register()
class DomainNetMini(HostDataset):
    """Train on one domain of DomainNet-mini, test on it and on others; sketch to the other three by default.

    DATASET.ROOT holds `domainnet/`, or is that folder: `<domain>/<class>/` trees and the official lists
    `<domain>_{train,test}.txt`, whose lines give a path below the folder and a label among the 345 classes of
    DomainNet. Only images of the 40 classes and files of the chosen domains are needed.

    A source domain's train list is split within each class by a stable hash of the path: DATASET.VAL_FRACTION of it is
    val, the rest train; its test list is the in-domain test. A target domain's test list is the out-of-domain test; its
    train list is not used. Labels follow the alphabetical order of the 40 class names. DATASET.TEST_FRACTION is not
    used.

    Raises:
        InputError: a list or image is missing, a list is malformed, names an image that it or another list named, lacks
            a class or gives one label to two classes, counts are not the published ones, or the domains or shots do not
            fit.
    """

    domains = ("clipart", "painting", "real", "sketch")
    ignores = ("DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE", "DATASET.FOLDER", "DATASET.EXPECTED_IMAGES")

    def read(self, cfg: Any) -> ImageDataset:
        """The train lists of the source domains in train and val, the test lists of all chosen domains in test."""
        source, target = chosen_domains(cfg, self.domains, ["sketch"], ["clipart", "painting", "real"])
        root = dataset_root(cfg, f"{FOLDER}/", ORIGIN)
        root = root / FOLDER if (root / FOLDER).is_dir() else root
        lists = _Lists(cfg, root)
        groups = chain.from_iterable(lists.read(domain, "train").values() for domain in source)
        split = split_groups(groups, cfg.DATASET.VAL_FRACTION, 0)
        for domain in [*source, *target]:
            split.test.extend(chain.from_iterable(lists.read(domain, "test").values()))
        train, val, test = (self._items(root, paths) for paths in (split.train, split.val, split.test))
        check_tested({self.domains[item.domain] for item in test}, [*source, *target], how_to_get(ORIGIN))
        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=train,
            val=val,
            test=test,
            classnames=CLASSES,
            domain_names=self.domains,
            source_domains=source,
            target_domains=target,
            root=root,
        )

    def _items(self, root: Path, paths: Sequence[str]) -> list[ImageItem]:
        items = []
        for path in paths:
            domain, name, _ = path.split("/")
            items.append(ImageItem(f"{root}/{path}", CLASSES.index(name), self.domains.index(domain)))
        return items


class _Lists:
    """The official lists in one folder. Each is checked as it is read, against those that were read before too.

    Args:
        cfg: the config.
        folder: holds the lists and the domains' trees.
    """

    def __init__(self, cfg: Any, folder: Path) -> None:
        self.folder = folder
        self._cfg = cfg
        self._class_of_label: dict[str, str] = {}
        self._list_of: dict[str, Path] = {}

    def read(self, domain: str, split: str) -> PathsByClass:
        """The listed images of each of the 40 classes, as paths below the folder.

        Raises:
            InputError: see `DomainNetMini`.
        """
        file = self.folder / f"{domain}_{split}.txt"
        lines = self._read_lines(file, domain)
        check_no_repeat(file, lines, how_to_get(ORIGIN))
        paths: PathsByClass = {name: [] for name in CLASSES}
        for _, path in lines:
            self._check_new(file, path)
            paths[path.split("/")[1]].append(path)
        lacking = [name for name, of_class in paths.items() if not of_class]
        if lacking:
            problem = f"'{file}' has no image of {len(lacking)} of the {len(CLASSES)} classes ({shown_names(lacking)})"
            refuse_partial(self._cfg, problem, how_to_get(ORIGIN))
        what, expected = f"images of the {len(CLASSES)} classes", COUNTS[domain, split]
        check_count(self._cfg, file, what, len(lines), expected, remedy=how_to_get(ORIGIN))
        return self._present(file, domain, paths)

    def _read_lines(self, file: Path, domain: str) -> list[tuple[int, str]]:
        """Number and path of each line that names an image of the 40 classes."""
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read '{file}': {error}; {how_to_get(ORIGIN)}") from error
        kept = []
        for number, line in enumerate(lines, start=1):
            path, _, label = line.strip().rpartition(" ")
            parts = path.split("/")
            if len(parts) != 3 or parts[0] != domain or {"", ".", ".."} & {*parts} or not label.isdecimal():
                wanted = f"'{domain}/<class>/<image> <label>'"
                raise InputError(f"'{file}' line {number} is not {wanted}: {line[:200]!r}; {how_to_get(ORIGIN)}")
            self._check_label(file, number, label, parts[1])
            if parts[1] in CLASSES:
                kept.append((number, path))
        return kept

    def _check_new(self, file: Path, path: str) -> None:
        """Refuse an image that another list named: an image to train on must not be one to test on."""
        before = self._list_of.setdefault(path, file)
        if before != file:
            raise InputError(f"both '{before}' and '{file}' name '{path}': {how_to_get(ORIGIN)}")

    def _check_label(self, file: Path, number: int, label: str, name: str) -> None:
        before = self._class_of_label.setdefault(label, name)
        if before != name and {before, name} & {*CLASSES}:
            raise InputError(
                f"'{file}' line {number} gives label {label} to class '{name}', and a line before to '{before}': "
                f"{how_to_get(ORIGIN)}"
            )

    def _present(self, file: Path, domain: str, paths: PathsByClass) -> PathsByClass:
        """The listed images that are there: all of them, or those of a partial copy."""
        there = {f"{domain}/{name}/{image}" for name in paths for image in _names_in(self.folder / domain / name)}
        missing = [path for path in chain.from_iterable(paths.values()) if path not in there]
        if missing:
            problem = f"{len(missing):,} images that '{file}' lists are missing, first '{self.folder / missing[0]}'"
            refuse_partial(self._cfg, problem, how_to_get(ORIGIN))
        present: PathsByClass = {}
        for name, of_class in paths.items():
            present[name] = [path for path in of_class if path in there]
        return present


def _names_in(folder: Path) -> list[str]:
    """Names in a folder, read at once: asking for each of 40,000 images takes long on a network drive."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(f"folder '{folder}'", error) from error
