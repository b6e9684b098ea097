"""A look inside LARE: what the regions of one run are and what they reach.

N: training rows, M: test rows, D: embedding width. All of it is for the eye alone: nothing of a run depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.config import merging
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.datasets.base.split_file import FILE_NAME as SPLIT_FILE
from lare_dassl.datasets.base.split_file import image_names, without_names
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.encoding.build import build_embeddings
from lare_dassl.errors import InputError, all_printable, printable, unknown_name
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io import checkpoint
from lare_dassl.io.json_files import read_json
from lare_dassl.methods.lare.regions import RegionalSamples, RegionNetwork, Regions, sample_regions
from lare_dassl.results.record import FILE_NAME, read_record
from lare_dassl.trainers.base.run_identity import check_same_record
from lare_dassl.trainers.lare import LARE

SHOWN_CLASSES = 5
MOST_CLASSES = 8
MOST_REACHING_ROWS = 2000


@dataclass(frozen=True)
class ShownRows:
    """What a person is shown of the rows of a split.

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
    skipped_keys = {str(key) for keys in skipped.values() for key in keys} if isinstance(skipped, dict) else set()
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


def chosen_classes(classnames: Sequence[str], wanted: Sequence[str] = ()) -> list[int]:
    """The labels of the wanted classes, or of SHOWN_CLASSES spread evenly where none is wanted.

    Raises:
        InputError: an unknown class, or more of them than there are colours.
    """
    if len(wanted) > MOST_CLASSES:
        raise InputError(f"--classes names {len(wanted)} classes: give at most {MOST_CLASSES}, one for each colour")
    for name in wanted:
        if name not in classnames:
            raise unknown_name("class", name, classnames)
    if wanted:
        return [classnames.index(name) for name in dict.fromkeys(wanted)]
    return _spread(len(classnames), SHOWN_CLASSES).tolist()


def rows_of_class(rows: LabelledEmbeddings, label: int, most: int, domain: int | None = None) -> Tensor:
    """At most `most` rows of a class, and of a domain where one is given, spread evenly: int64, ascending."""
    mask = rows.label == label
    if domain is not None:
        mask &= rows.domain == domain
    numbers = mask.nonzero().flatten()
    return numbers[_spread(len(numbers), most)]


@dataclass(frozen=True)
class Projection:
    """The plane of the two principal axes of some points.

    Attributes:
        mean: of the points, float64 (D,).
        axes: of unit length and orthogonal, float64 (2, D).
        share: of the points' variance along each axis, in [0, 1].
    """

    mean: Tensor
    axes: Tensor
    share: tuple[float, float]

    def __call__(self, points: Tensor) -> Tensor:
        """Coordinates (n, 2) of points (n, D)."""
        return (points.double() - self.mean) @ self.axes.T


def principal_projection(points: Tensor) -> Projection:
    """The projection by principal component analysis; of each axis the largest entry is positive.

    Args:
        points: (n, D), D at least 2.
    """
    points = points.double()
    mean = points.mean(dim=0)
    centred = points - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    values, axes = values.flip(0).clamp(min=0), vectors.T.flip(0)[:2]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    total = max(float(values.sum()), torch.finfo(values.dtype).tiny)
    return Projection(mean, axes * largest.sign(), (float(values[0]) / total, float(values[1]) / total))


def region_angles(regions: Regions) -> Tensor:
    """The angle between the two corners of each region in degrees, float64 (N,).

    It grows as the box volume loss (equation 1) of the region falls, and does not depend on the scale of the corners.
    """
    cosine = F.cosine_similarity(regions.lower.double(), regions.upper.double(), dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


@dataclass(frozen=True)
class Neighbour:
    """A test row near regional samples.

    Attributes:
        row: its number among the test rows.
        share: of the samples to which no test row is nearer, in percent.
    """

    row: int
    share: float


@dataclass(frozen=True)
class Example:
    """What the regional samples of one training row reach.

    Attributes:
        row: its number among the training rows.
        nearest: the test row nearest to its own embedding.
        reached: the test rows nearest to its samples, those of the most samples first.
        rows_reached: number of test rows that are nearest to some sample.
    """

    row: int
    nearest: int
    reached: list[Neighbour]
    rows_reached: int


def nearest_rows(points: Tensor, rows: Tensor, block: int = 1024) -> Tensor:
    """The row nearest to each point by cosine, int64 (n,).

    Args:
        points: of unit length, (n, D).
        rows: of unit length, (M, D).
        block: points compared at once.
    """
    return torch.cat([(part @ rows.T).argmax(dim=1) for part in points.split(block)])


def example_of(run: InsideRun, row: int, draws: int, shown: int = 6) -> Example:
    """The test rows nearest to regional samples of one training row.

    Args:
        run: see InsideRun.
        row: number of the training row.
        draws: regional samples.
        shown: test rows given at most.
    """
    generator = torch.Generator().manual_seed(run.seed)
    samples = sample_regions(regions_of(run.regions, torch.full((draws,), row)), generator)
    test = run.embeddings.test.embedding
    counts = Counter(nearest_rows(samples, test).tolist())
    own = nearest_rows(run.embeddings.train.embedding[row : row + 1], test)
    # Equal counts in the order of the rows, so that the same run always shows the same.
    order = sorted(counts, key=lambda number: (-counts[number], number))
    reached = [Neighbour(number, 100 * counts[number] / draws) for number in order[:shown]]
    return Example(row, int(own), reached, len(counts))


def examples(run: InsideRun, labels: Sequence[int], draws: int) -> list[Example]:
    """One example for each class, of its first training row; see `example_of`."""
    rows = (rows_of_class(run.embeddings.train, label, most=1) for label in labels)
    return [example_of(run, int(row), draws) for row in rows]


def regions_of(regions: Regions, rows: Tensor) -> Regions:
    """The regions of some rows, one for each number in `rows` (int64)."""
    return Regions(regions.lower[rows], regions.upper[rows])


@dataclass(frozen=True)
class Reach:
    """Which domains and classes the nearest test rows are of; shares are in percent.

    Attributes:
        rows: number of training rows that were asked.
        by_domain: for each domain of the test rows, its share of the test rows ("test"), of the rows nearest to
            training embeddings ("real") and of those nearest to regional samples ("sample").
        same_class: share of the nearest rows that are of the training row's class, "real" and "sample".
    """

    rows: int
    by_domain: dict[str, dict[str, float]]
    same_class: dict[str, float]


def reach_of(run: InsideRun) -> Reach:
    """Where the nearest test rows lie, of training embeddings and of one regional sample of each.

    At most MOST_REACHING_ROWS training rows are asked, spread evenly.
    """
    rows = _spread(len(run.embeddings.train), MOST_REACHING_ROWS)
    samples = RegionalSamples(run.regions).draw(rows, torch.Generator().manual_seed(run.seed))[0]
    test, train = run.embeddings.test, run.embeddings.train
    points = {"real": train.embedding[rows], "sample": samples}
    nearest = {kind: nearest_rows(embedding, test.embedding) for kind, embedding in points.items()}
    by_domain = {
        run.embeddings.domain_names[domain]: {"test": _percent(test.domain == domain)}
        | {kind: _percent(test.domain[numbers] == domain) for kind, numbers in nearest.items()}
        for domain in test.domain.unique().tolist()
    }
    same_class = {kind: _percent(test.label[numbers] == train.label[rows]) for kind, numbers in nearest.items()}
    return Reach(len(rows), by_domain, same_class)


def _spread(count: int, most: int) -> Tensor:
    """At most `most` of the numbers 0..count-1, at even distances, ascending."""
    return torch.arange(count) if count <= most else torch.arange(most) * count // most


def _percent(mask: Tensor) -> float:
    return 100 * float(mask.double().mean())
