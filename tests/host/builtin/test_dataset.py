from __future__ import annotations

import random

import pytest

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.dataset import DatasetBase, Datum


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "x.png"
    path.touch()
    return [Datum(str(path), label=n % 3, domain=n % 2, classname="abc"[n % 3]) for n in range(12)]


class Pairs(DatasetBase):
    domains = ("photo", "sketch")


def test_a_missing_image_is_named():
    with pytest.raises(InputError, match=r"no image file at 'nowhere/1\.png'"):
        Datum("nowhere/1.png")


def test_a_dataset_without_training_images_is_refused():
    with pytest.raises(InputError, match="'Pairs' has no training images"):
        Pairs(train_x=[])


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [((), ("photo",), "SOURCE_DOMAINS is empty"), (("photo",), ("scetch",), "did you mean 'sketch'")],
)
def test_input_domains_are_checked(data, sources, targets, message):
    with pytest.raises(InputError, match=message):
        Pairs(train_x=data).check_input_domains(sources, targets)


def test_fewshot_keeps_so_many_of_each_class(data):
    random.seed(0)
    dataset = Pairs(train_x=data)
    kept = dataset.generate_fewshot_dataset(data, num_shots=2)
    assert [item.label for item in kept] == [0, 0, 1, 1, 2, 2]
    assert dataset.generate_fewshot_dataset(data, num_shots=-1) is data
    assert len(dataset.generate_fewshot_dataset(data, num_shots=9)) == 12
    assert len(dataset.generate_fewshot_dataset(data, num_shots=9, repeat=True)) == 27
    assert [len(few) for few in dataset.generate_fewshot_dataset(data, data[:3], num_shots=1)] == [3, 3]


def test_images_are_grouped_by_label_and_domain(data):
    dataset = Pairs(train_x=data)
    assert {label: len(items) for label, items in dataset.split_dataset_by_label(data).items()} == {0: 4, 1: 4, 2: 4}
    assert {domain: len(items) for domain, items in dataset.split_dataset_by_domain(data).items()} == {0: 6, 1: 6}
