from __future__ import annotations

import numpy as np
import pytest
import torch

from lare_dassl.report.inside import plane
from lare_dassl.report.inside.plane import plane_points, principal_projection
from tests.report.inside.made_up_run import made_up


def test_the_projection_is_that_of_the_singular_values():
    points = torch.randn(50, 7, generator=torch.Generator().manual_seed(3)) * torch.arange(7, 0, -1)
    project = principal_projection(points)
    centred = points.double().numpy() - points.double().numpy().mean(axis=0)
    _, values, axes = np.linalg.svd(centred)
    for axis in (0, 1):
        sign = np.sign(axes[axis][np.abs(axes[axis]).argmax()])
        np.testing.assert_allclose(project(points)[:, axis].numpy(), centred @ axes[axis] * sign, atol=1e-10)
        assert project.share[axis] == pytest.approx(values[axis] ** 2 / (values**2).sum())
    assert torch.equal(principal_projection(points).axes, project.axes)


def test_the_projection_of_equal_points_is_finite():
    project = principal_projection(torch.ones(4, 3))
    assert torch.isfinite(project(torch.ones(4, 3))).all() and project.share == (0.0, 0.0)


def test_the_plane_holds_what_is_drawn_of_the_classes(monkeypatch):
    monkeypatch.setattr(plane, "TRAIN_ROWS", 6)
    monkeypatch.setattr(plane, "TEST_ROWS", 3)
    monkeypatch.setattr(plane, "DRAWN_REGIONS", 2)
    run, labels = made_up(), [1, 4]
    points = plane_points(run, labels)
    assert points.train_label.tolist() == [1] * 6 + [4] * 6
    assert points.test_domain.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [0] * 3 + [1] * 3 + [2] * 3
    # Regions that are points: corners and samples lie on their embeddings.
    torch.testing.assert_close(points.samples, points.train.repeat(3, 1), atol=1e-6, rtol=0)
    assert points.corner_label.tolist() == [1] * 2 + [4] * 2
    for corner in (points.lower, points.upper):
        torch.testing.assert_close(corner, points.train[[0, 3, 6, 9]], atol=1e-6, rtol=0)
    assert points.samples_label.tolist() == points.train_label.tolist() * 3
