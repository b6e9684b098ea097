"""Points of a run in the plane of their two principal axes. D: embedding width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from lare_dassl.methods.lare.regions import RegionalSamples

from .choice import regions_of, rows_of_class
from .run import InsideRun

TRAIN_ROWS = 24
"""Training rows of a class that are drawn with samples of their regions, at most."""
DRAWN_REGIONS = 6
"""Regions of a class whose corners are drawn, at most: more would lie on each other."""
TEST_ROWS = 20
"""Test rows of a class in a domain that are drawn, at most."""
DRAWN_SAMPLES = 3
"""Regional samples drawn of each training row."""


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


@dataclass(frozen=True)
class PlanePoints:
    """Points of some classes in one plane; coordinates are (n, 2), labels and domains int64 (n,).

    Attributes:
        projection: fitted to the real embeddings, train and test.
        train: real training embeddings, and train_label their classes.
        test: real test embeddings, with test_label and test_domain.
        lower: lower corners of DRAWN_REGIONS regions of each class, scaled to unit length.
        upper: their upper corners, scaled to unit length, with corner_label.
        samples: regional samples of `train`, DRAWN_SAMPLES of each, with samples_label.
    """

    projection: Projection
    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor
    test_domain: Tensor
    lower: Tensor
    upper: Tensor
    corner_label: Tensor
    samples: Tensor
    samples_label: Tensor


def plane_points(run: InsideRun, labels: Sequence[int]) -> PlanePoints:
    """The points that are drawn of some classes: at most TRAIN_ROWS of each, and TEST_ROWS of each in each domain."""
    train, test = run.embeddings.train, run.embeddings.test
    domains = test.domain.unique().tolist()
    rows = torch.cat([rows_of_class(train, label, TRAIN_ROWS) for label in labels])
    test_rows = torch.cat([rows_of_class(test, *place) for place in product(labels, [TEST_ROWS], domains)])
    corner_rows = torch.cat([rows_of_class(train, label, DRAWN_REGIONS) for label in labels])
    corners = regions_of(run.regions, corner_rows).normalised()
    generator = torch.Generator().manual_seed(run.seed)
    samples = torch.cat(RegionalSamples(run.regions, DRAWN_SAMPLES).draw(rows, generator))
    project = principal_projection(torch.cat([train.embedding[rows], test.embedding[test_rows]]))
    return PlanePoints(
        projection=project,
        train=project(train.embedding[rows]),
        train_label=train.label[rows],
        test=project(test.embedding[test_rows]),
        test_label=test.label[test_rows],
        test_domain=test.domain[test_rows],
        lower=project(corners.lower),
        upper=project(corners.upper),
        corner_label=train.label[corner_rows],
        samples=project(samples),
        samples_label=train.label[rows].repeat(DRAWN_SAMPLES),
    )
