from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.methods.lare.regions import Regions
from lare_dassl.report.inside.reach import example_of, nearest_rows, reach_of
from tests.helpers import shifted_embeddings
from tests.report.inside.made_up_run import made_up


def test_the_nearest_rows_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(5)
    points, rows = (F.normalize(torch.randn(count, 6, generator=generator), dim=1) for count in (11, 9))
    expected = [max(range(9), key=lambda row: float(point @ rows[row])) for point in points]
    assert nearest_rows(points, rows, block=4).tolist() == expected


def test_samples_of_a_region_that_is_a_point_reach_one_row():
    embeddings = shifted_embeddings()
    corners = embeddings.train.embedding.clone()
    corners[3] = embeddings.test.embedding[17]
    found = example_of(made_up(Regions(corners, corners)), row=3, draws=5)
    assert [(near.row, near.share) for near in found.reached] == [(17, 100.0)]
    assert found.rows_reached == 1
    similarity = embeddings.test.embedding @ embeddings.train.embedding[3]
    assert found.nearest == int(similarity.argmax())


def test_samples_reach_rows_in_the_order_of_their_shares():
    embeddings = shifted_embeddings()
    lower = torch.full_like(embeddings.train.embedding, -1.0)
    found = example_of(made_up(Regions(lower, -lower)), row=0, draws=200, shown=4)
    shares = [near.share for near in found.reached]
    assert len(shares) == 4 < found.rows_reached
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    assert sum(shares) < 100


def test_reach_of_points_is_that_of_a_loop():
    run = made_up()
    train, test = run.embeddings.train, run.embeddings.test
    nearest = [int((test.embedding @ point).argmax()) for point in train.embedding]
    reach = reach_of(run)
    for number, name in enumerate(("photo", "painting", "sketch")):
        share = 100 * sum(int(test.domain[row]) == number for row in nearest) / len(nearest)
        assert reach.by_domain[name] == pytest.approx((100 / 3, share, share))
    same = 100 * sum(int(test.label[row]) == int(label) for row, label in zip(nearest, train.label, strict=True)) / 40
    assert (reach.same_class_real, reach.same_class_sample) == pytest.approx((same, same))
    assert reach.rows == 40


def test_reach_asks_a_spread_of_many_rows(monkeypatch):
    monkeypatch.setattr("lare_dassl.report.inside.reach.MOST_REACHING_ROWS", 10)
    assert reach_of(made_up()).rows == 10
