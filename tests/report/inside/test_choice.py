from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.methods.lare.regions import Regions
from lare_dassl.report.inside.choice import chosen_classes, region_angles, rows_of_class
from tests.helpers import shifted_embeddings


def test_the_size_of_a_region_is_the_angle_between_its_corners():
    lower = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    upper = torch.tensor([[0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(region_angles(Regions(lower, upper)), torch.tensor([90.0, 0.0, 180.0]).double())


def test_classes_are_spread_where_none_is_wanted():
    names = [f"class {number}" for number in range(100)]
    assert chosen_classes(names) == [0, 20, 40, 60, 80]
    assert chosen_classes(names[:3]) == [0, 1, 2]
    assert chosen_classes(names, ["class 7", "class 2", "class 7"]) == [7, 2]
    with pytest.raises(InputError, match="unknown class 'clas 7': did you mean 'class 7'"):
        chosen_classes(names, ["clas 7"])
    with pytest.raises(InputError, match="names 9 classes: give at most 8"):
        chosen_classes(names, names[:9])


def test_rows_of_a_class_are_spread():
    rows = shifted_embeddings().test
    assert rows_of_class(rows, 2, most=100).tolist() == list(range(2, 60, 5))
    assert rows_of_class(rows, 2, most=3).tolist() == [2, 22, 42]
    assert rows_of_class(rows, 2, most=2, domain=1).tolist() == [22, 32]
