"""Verifying a dataset: its own checks on being built, counts, and a sample of images decoded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.table import Table
from tqdm import tqdm
from yacs.config import CfgNode

from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.embeddings.encoder.image_files import file_trouble, pillow_silent, read_rgb
from lare_dassl.errors import InputError, shortened

ALL = "all"
SHOWN = 5


def build_what_is_there(cfg: CfgNode) -> ImageDataset | None:
    """Build the dataset with its readable domains only; None where no domain can be read.

    A domain that cannot be a source may still be a target beside another source.
    """
    domains = [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS]
    sources = [name for name in domains if _try_to_build(cfg, [name], [])]
    if not sources:
        return None
    targets = [name for name in domains if name not in sources and _try_to_build(cfg, sources[:1], [name])]
    first = [name for name in sources if name in cfg.DATASET.SOURCE_DOMAINS] or sources[:1]
    return _try_to_build(cfg, first, [name for name in domains if name in {*sources, *targets} - {*first}])


def _try_to_build(cfg: CfgNode, sources: list[str], targets: list[str]) -> ImageDataset | None:
    cfg = cfg.clone()
    cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS = sources, targets
    try:
        return open_dataset(cfg)
    except InputError:
        return None


def counts_table(dataset: ImageDataset) -> Table:
    """Images of each split, in each of the chosen domains."""
    domains = [*dataset.source_domains, *dataset.target_domains]
    table = Table("images", *domains, "all")
    for title, items in _files(dataset).items():
        count = Counter(dataset.domain_names[item.domain] for item in items)
        table.add_row(title, *(f"{count[domain]:,}" for domain in domains), f"{len(items):,}")
    return table


def _files(dataset: ImageDataset) -> dict[str, list[ImageItem]]:
    files = {}
    for name, items in dataset.splits().items():
        files[name] = [item for item in items if item.path not in dataset.no_files]
    return files


def sample_size(given: str) -> int | None:
    """Parse the value of --sample: a number of images, None for all.

    Raises:
        InputError: the value is neither a number from 0 up nor "all".

    >>> sample_size("20"), sample_size("all")
    (20, None)
    """
    if given == ALL:
        return None
    if not re.fullmatch(r"\d{1,9}", given):
        raise InputError(f"--sample takes a number of images, or {ALL}, not '{shortened(given)}'")
    return int(given)


def check_images(dataset: ImageDataset, sample: int | None) -> int:
    """Decode a sample of images, None for all, spread evenly over a dataset of ours; gives their number.

    Raises:
        InputError: names images that cannot be read. Entries that are no files are always found, whatever the sample.
    """
    paths = list(dict.fromkeys(Path(item.path) for item in chain.from_iterable(_files(dataset).values())))
    size = len(paths) if sample is None else min(sample, len(paths))
    chosen = [paths[place * len(paths) // size] for place in range(size)]
    no_files = [Path(path) for path in sorted(dataset.no_files)]
    unreadable = [f"{path} ({file_trouble(path)})" for path in no_files]
    for path in tqdm(chosen, desc="decoding images", unit="img", mininterval=0.5):
        try:
            with pillow_silent():
                read_rgb(path)
        except InputError as error:
            unreadable.append(f"{path} ({error})")
    if unreadable:
        raise InputError(_unreadable(unreadable, size + len(no_files), len(paths) + len(no_files)))
    return size


def _unreadable(unreadable: Sequence[str], size: int, total: int) -> str:
    more = f"; and {len(unreadable) - SHOWN} more" if len(unreadable) > SHOWN else ""
    hint = "" if size == total else f", and look for more with --sample {ALL}"
    return (
        f"{len(unreadable)} of {size:,} decoded images cannot be read: {'; '.join(unreadable[:SHOWN])}{more}. "
        f"Put good copies in their place{hint}"
    )
