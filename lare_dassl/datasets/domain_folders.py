"""Any tree of images <root>/<domain>/<class>/**/*.jpg: PACS, OfficeHome, VLCS, or a user's own pictures."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lare_dassl.datasets.base.checks import check_count, check_tested
from lare_dassl.datasets.base.domains import chosen_domains
from lare_dassl.datasets.base.hash_split import Split, split_groups
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import SPLITS, ImageDataset, ImageItem
from lare_dassl.datasets.base.image_tree import also_get, dataset_root, folders_in, images_in, natural_key
from lare_dassl.datasets.base.sources import SOURCES, how_to_get
from lare_dassl.errors import InputError, unknown_name
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io.files import composed
from lare_dassl.io.json_files import read_json

logger = logging.getLogger(__name__)

LAYOUT = "<domain>/<class>/ folders of images"
ImageTree = dict[str, dict[str, list[str]]]


@DATASET_REGISTRY.register()
class DomainFolders(HostDataset):
    """A dataset of the images below DATASET.ROOT, in folders <domain>/<class>/ (deeper folders belong to the class).

    Where ROOT has a folder DATASET.FOLDER, the domains are in that. DATASET.EXPECTED_IMAGES gives the number of images
    of each domain in a complete copy; a copy with other numbers is refused, unless DATASET.ALLOW_PARTIAL takes it.
    DATASET.ORIGIN names the entry of `sources.SOURCES` that says where to get what is missing.

    Source domains are split into train, val and test; of target domains every image is test. The split comes from a
    hash of each image's path below the root, drawn within each domain and class by `split_by_hash` with
    DATASET.VAL_FRACTION and DATASET.TEST_FRACTION: it is the same on every machine, and every class of every source
    domain keeps at least one training image.

    DATASET.SPLIT_FILE replaces the hash by given lists: a JSON file {"train": [...], "val": [...], "test": [...]} of
    paths relative to the root, such as "photo/dog/056_0001.jpg"; "val" and "test" may be left out. Only the entries of
    the source domains count, so one file serves every choice of domains; source images that it does not list are left
    out.

    Labels follow the natural order of the class names of the chosen domains. Hidden files and folders are left out.

    Raises:
        InputError: anything wrong with the tree, the domains, the split file or DATASET.NUM_SHOTS.
    """

    def read(self, cfg: Any) -> ImageDataset:
        """The images of the source domains in train, val and test, those of the target domains in test."""
        root = _tree_root(cfg)
        domains = _domains_in(root, cfg.DATASET.ORIGIN)
        _check_domains_there(cfg, root, domains)
        source, target = chosen_domains(cfg, domains)
        tree = {domain: _classes_in(root, domain) for domain in [*source, *target]}
        _check_counts(cfg, root, tree)
        _check_classes(tree, source)
        split = _split_sources(cfg, root, tree, source)
        split.test.extend(chain.from_iterable(_groups(tree, target)))
        _check_tested(cfg, split, source, target)
        names = _class_names(tree)
        train, val, test = (_items(root, paths, names, domains) for paths in (split.train, split.val, split.test))
        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=train,
            val=val,
            test=test,
            classnames=names,
            domain_names=domains,
            source_domains=source,
            target_domains=target,
            root=root,
        )


def _split_sources(cfg: Any, root: Path, tree: ImageTree, source: Sequence[str]) -> Split:
    if cfg.DATASET.SPLIT_FILE:
        return read_split(Path(cfg.DATASET.SPLIT_FILE).expanduser(), root, tree, source)
    return split_groups(_groups(tree, source), cfg.DATASET.VAL_FRACTION, cfg.DATASET.TEST_FRACTION)


def _groups(tree: ImageTree, domains: Iterable[str]) -> Iterator[list[str]]:
    """The images of each class of each of some domains."""
    return chain.from_iterable(tree[domain].values() for domain in domains)


def _check_tested(cfg: Any, split: Split, source: Sequence[str], target: Sequence[str]) -> None:
    """Refuse a run that tests nothing, or a domain without test images.

    Source domains need none where a share of 0, or a split file without any, leaves them out.
    """
    if not split.test:
        raise InputError("no test image: name --target-domains or raise DATASET.TEST_FRACTION above 0")
    tested = {_domain_of(path) for path in split.test}
    if cfg.DATASET.SPLIT_FILE:
        without, remedy = not tested & {*source}, "list one in DATASET.SPLIT_FILE"
    else:
        without = not cfg.DATASET.TEST_FRACTION
        remedy = "raise DATASET.TEST_FRACTION, or set it to 0 to test on no source domain"
    check_tested(tested, target if without else [*source, *target], remedy)


def _items(root: Path, paths: Iterable[str], names: Sequence[str], domains: Sequence[str]) -> list[ImageItem]:
    label_of = {name: label for label, name in enumerate(names)}
    number_of = {name: number for number, name in enumerate(domains)}
    items = []
    for path in paths:
        domain, name = path.split("/", 2)[:2]
        items.append(ImageItem(f"{root}/{path}", label_of[name], number_of[domain]))
    return items


def _tree_root(cfg: Any) -> Path:
    """The folder right above the domains."""
    origin, folder = cfg.DATASET.ORIGIN, cfg.DATASET.FOLDER
    if origin and origin not in SOURCES:
        raise unknown_name("DATASET.ORIGIN", origin, SOURCES)
    root = dataset_root(cfg, f"{folder}/ with {LAYOUT}" if folder else LAYOUT, origin)
    return root / folder if (root / folder).is_dir() else root


def _domains_in(root: Path, origin: str) -> list[str]:
    """The folders that hold folders; a folder of files beside the domains, such as split lists, is no domain."""
    folders = folders_in(root)
    domains = [folder for folder in folders if folders_in(root / folder)]
    if domains:
        return domains
    if any(images_in(root / folder) for folder in folders):
        hint = "its folders hold images directly; put these class folders into a folder per domain"
    else:
        hint = "give the folder right above the domains with --root"
    raise InputError(f"DATASET.ROOT '{root}' has no {LAYOUT}: {hint}{also_get(origin)}")


def _check_domains_there(cfg: Any, root: Path, there: Sequence[str]) -> None:
    """Refuse a copy that lacks a chosen domain that the dataset is known to have."""
    for domain in [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS]:
        if domain in cfg.DATASET.EXPECTED_IMAGES and domain not in there:
            raise InputError(f"'{root}' lacks domain '{domain}', found {_quoted(there)}{also_get(cfg.DATASET.ORIGIN)}")


def _check_counts(cfg: Any, root: Path, tree: ImageTree) -> None:
    for domain, expected in cfg.DATASET.EXPECTED_IMAGES.items():
        if domain in tree:
            found = sum(map(len, tree[domain].values()))
            check_count(cfg, root / domain, "images", found, expected, remedy=how_to_get(cfg.DATASET.ORIGIN))


def _classes_in(root: Path, domain: str) -> dict[str, list[str]]:
    """The images of each class of a domain, as paths relative to the root."""
    classes = {}
    for name in folders_in(root / domain):
        images = images_in(root / domain / name)
        if not images:
            raise InputError(f"class folder '{root / domain / name}' has no images: fill it or remove it")
        classes[name] = [f"{domain}/{name}/{image}" for image in images]
    return classes


def _class_names(tree: ImageTree) -> list[str]:
    return sorted(set(chain.from_iterable(tree.values())), key=natural_key)


def _check_classes(tree: ImageTree, source: Sequence[str]) -> None:
    """Refuse a class that is in one of several domains only, or in no source domain; warn of one that misses some."""
    for name in _class_names(tree):
        having = [domain for domain in tree if name in tree[domain]]
        missing = [domain for domain in tree if name not in tree[domain]]
        if missing and (len(having) == 1 or not set(having) & set(source)):
            raise InputError(
                f"class '{name}' is in domain {_quoted(having)} only, and missing in {_quoted(missing)}: "
                "give the class folders of all domains the same names, or remove it"
            )
        if missing:
            logger.warning("class '%s' is missing in domain %s", name, _quoted(missing))


def read_split(file: Path, root: Path, tree: ImageTree, source: Sequence[str]) -> Split:
    """The split of the source domains that a JSON file lists (see `DomainFolders`).

    Args:
        file: the JSON file.
        root: the folder that the listed paths are relative to.
        tree: paths of the images of the chosen domains, by domain and class, relative to the root.
        source: names of the source domains.

    Raises:
        InputError: the file is missing or malformed, lists an image that is not there, or lists one twice.
    """
    present = set(chain.from_iterable(_groups(tree, tree)))
    # Another file system may have put the accents of a name together, or apart.
    name_there = {composed(path): path for path in present}
    part_of: dict[str, str] = {}
    split: dict[str, list[str]] = {part: [] for part in SPLITS}
    for part, listed in _read_lists(file).items():
        for name in listed:
            path = name if name in present else name_there.get(composed(name), name)
            _check_listed(file, part, path, part_of)
            part_of[path] = part
            there = path in present if _domain_of(path) in tree else (root / path).is_file()
            if not there:
                raise InputError(f"split file '{file}': there is no image '{path}' (listed in '{part}') below '{root}'")
            if _domain_of(path) in source:
                split[part].append(path)
    unlisted = sum(path not in part_of for path in present if _domain_of(path) in source)
    if unlisted:
        logger.info("%d images of the source domains are not listed in '%s' and are left out", unlisted, file)
    return Split(**split)


def _domain_of(path: str) -> str:
    return path.split("/", 1)[0]


def _read_lists(file: Path) -> Mapping[str, list[str]]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read DATASET.SPLIT_FILE '{file}': {error}") from error
    if not isinstance(content, dict) or not set(content) <= set(SPLITS) or "train" not in content:
        raise InputError(f"split file '{file}' is not a JSON object with the keys 'train', 'val' and 'test'")
    lists = {}
    for part, paths in content.items():
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise InputError(f"split file '{file}': '{part}' is not a list of paths")
        lists[part] = [posixpath.normpath(path) for path in paths]
    return lists


def _check_listed(file: Path, part: str, path: str, part_of: Mapping[str, str]) -> None:
    if path in part_of:
        raise InputError(f"split file '{file}': image '{path}' is in '{part_of[path]}' and again in '{part}'")
    if path.count("/") < 2 or path.startswith(("/", "../")):
        raise InputError(f"split file '{file}': '{path}' is not a path <domain>/<class>/<image> below DATASET.ROOT")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
