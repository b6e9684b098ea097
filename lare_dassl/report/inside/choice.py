"""The classes, rows and regions that are shown of a run. N: training rows, D: embedding width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lare_dassl.embeddings.embedding_set import LabelledEmbeddings
from lare_dassl.errors import InputError, unknown_name
from lare_dassl.methods.lare.regions import Regions

SHOWN_CLASSES = 5
MOST_CLASSES = 8


def chosen_classes(classnames: Sequence[str], wanted: Sequence[str] = ()) -> list[int]:
    """The labels of the wanted classes, or of SHOWN_CLASSES spread evenly where none is wanted.

    Raises:
        InputError: an unknown class, or more classes than there are colours.
    """
    if len(wanted) > MOST_CLASSES:
        raise InputError(f"--classes names {len(wanted)} classes: give at most {MOST_CLASSES}, one for each colour")
    for name in wanted:
        if name not in classnames:
            raise unknown_name("class", name, classnames)
    if wanted:
        return [classnames.index(name) for name in dict.fromkeys(wanted)]
    return spread(len(classnames), SHOWN_CLASSES).tolist()


def rows_of_class(rows: LabelledEmbeddings, label: int, most: int, domain: int | None = None) -> Tensor:
    """At most `most` rows of a class, and of a domain where one is given, spread evenly: int64, ascending."""
    mask = rows.label == label
    if domain is not None:
        mask &= rows.domain == domain
    numbers = mask.nonzero().flatten()
    return numbers[spread(len(numbers), most)]


def spread(count: int, most: int) -> Tensor:
    """At most `most` of the numbers 0..count-1, at even distances, ascending."""
    return torch.arange(count) if count <= most else torch.arange(most) * count // most


def regions_of(regions: Regions, rows: Tensor) -> Regions:
    """The regions of some rows, one for each number in `rows` (int64)."""
    return Regions(regions.lower[rows], regions.upper[rows])


def region_angles(regions: Regions) -> Tensor:
    """The angle between the two corners of each region in degrees, float64 (N,).

    It grows as the box volume loss (equation 1) of the region falls, and does not depend on the scale of the corners.
    """
    cosine = F.cosine_similarity(regions.lower.double(), regions.upper.double(), dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
