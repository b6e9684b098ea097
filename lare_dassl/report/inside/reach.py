"""The reach of the regional samples of a run: the nearest test rows. M: test rows, D: embedding width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lare_dassl.methods.lare.regions import RegionalSamples, sample_regions

from .choice import regions_of, rows_of_class, spread
from .run import InsideRun

MOST_REACHING_ROWS = 2000


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
    """The reach of the regional samples of one training row.

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


class Shares(NamedTuple):
    """Shares of rows that lie in one domain, in percent.

    Attributes:
        test: of all test rows.
        real: of the test rows nearest to training embeddings.
        sample: of the test rows nearest to regional samples.
    """

    test: float
    real: float
    sample: float


@dataclass(frozen=True)
class Reach:
    """Domains and classes of the nearest test rows.

    Attributes:
        rows: number of training rows that were asked.
        by_domain: the shares of each domain of the test rows.
        same_class_real: share, in percent, of the rows nearest to training embeddings that are of their class.
        same_class_sample: the same of the rows nearest to regional samples.
    """

    rows: int
    by_domain: dict[str, Shares]
    same_class_real: float
    same_class_sample: float


def reach_of(run: InsideRun) -> Reach:
    """Domains and classes of the test rows nearest to training embeddings and to one regional sample of each.

    At most MOST_REACHING_ROWS training rows are asked, spread evenly.
    """
    rows = spread(len(run.embeddings.train), MOST_REACHING_ROWS)
    samples = RegionalSamples(run.regions).draw(rows, torch.Generator().manual_seed(run.seed))[0]
    test, train = run.embeddings.test, run.embeddings.train
    real, sample = nearest_rows(train.embedding[rows], test.embedding), nearest_rows(samples, test.embedding)
    by_domain = {}
    for domain in test.domain.unique().tolist():
        inside = test.domain == domain
        shares = Shares(_percent(inside), _percent(inside[real]), _percent(inside[sample]))
        by_domain[run.embeddings.domain_names[domain]] = shares
    same_class = (_percent(test.label[near] == train.label[rows]) for near in (real, sample))
    return Reach(len(rows), by_domain, *same_class)


def _percent(mask: Tensor) -> float:
    return 100 * float(mask.double().mean())
