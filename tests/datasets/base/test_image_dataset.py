from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lare_dassl.datasets.base.foreign import as_image_dataset
from lare_dassl.datasets.base.host_dataset import HostDataset, brings_embeddings, known_domains
from lare_dassl.datasets.base.image_dataset import ImageItem
from lare_dassl.errors import InputError
from tests.datasets.made import made_dataset
from tests.helpers import make_cfg, shifted_embeddings


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": [(0, 0), (2, 0)]}, r"Made: 1 of 3 classes have no training image in '/data': dog; give each"),
        ({"train": [(0, 0)], "test": [(1, 0)]}, "Made: a test image has label 1, but the 1 classes .* 0 to 0"),
        ({"train": [(0, 0)], "val": [(-1, 0)]}, "Made: a val image has label -1"),
        ({"train": [(0, 2)]}, "Made: a train image is of domain 2, counted from 0: known are photo, painting"),
        ({"train": [(0, 1)]}, "Made: a train image is of 'painting', which is no source domain"),
        ({"train": [(0, 0)], "val": [(0, 1)]}, "Made: a val image is of 'painting', which is no source domain"),
        ({"train": [(0, 0)], "test": [(0, 1)], "target_domains": []}, "neither a source nor a target domain"),
    ],
)
def test_images_of_no_class_or_of_a_wrong_domain_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        made_dataset(**parts)


def test_prompt_names_are_made_of_class_names_or_given():
    assert list(made_dataset([(0, 0)], classnames=["black_cat"]).prompt_names) == ["black cat"]
    assert made_dataset([(0, 0)], classnames=["black_cat"], prompt_names=["panther"]).prompt_names == ["panther"]


def test_fewer_training_images_take_their_row_numbers_and_embeddings_along():
    embeddings = shifted_embeddings()
    size = len(embeddings.train)
    rows = {"train": range(100, 100 + size), "val": [], "test": [7]}
    few = made_dataset([(0, 0)] * size, embeddings=embeddings, rows=rows).trained_on([0, 3])
    assert few.sizes() == {"train": 2, "val": 0, "test": 1}
    assert few.rows == {"train": [100, 103], "val": [], "test": [7]}
    assert torch.equal(few.embeddings.train.embedding, embeddings.train.embedding[[0, 3]])


def test_images_that_are_left_out_are_kept_as_skipped():
    dataset = made_dataset([(0, 0)] * 3, val=[(0, 0)])
    first, second, third = dataset.train
    once = dataset.without({Path(second.path), Path(dataset.val[0].path)})
    assert (once.train, once.val, once.test) == ([first, third], [], dataset.test)
    assert once.without({Path(first.path)}).skipped == {"train": [second, first], "val": [dataset.val[0]], "test": []}


class Linked(HostDataset):
    """Three training images, of which the first is a link to nothing."""

    def read(self, cfg):
        root = Path(cfg.DATASET.ROOT)
        train = [ImageItem(f"{root}/{name}", 0, 0) for name in ("gone", "here", "here too")]
        return replace(made_dataset([(0, 0)], root=root), train=train, test=train[1:2])


def test_images_that_are_no_files_come_last_and_are_hidden_from_the_host(tmp_path):
    (tmp_path / "gone").symlink_to("nothing")
    for name in ("here", "here too"):
        (tmp_path / name).touch()
    cfg = make_cfg(DATASET__ROOT=tmp_path)
    dataset = Linked(cfg)
    assert [Path(datum.impath).name for datum in dataset.train_x] == ["here", "here too"]
    images = as_image_dataset(dataset, cfg)
    assert [Path(item.path).name for item in images.train] == ["here", "here too", "gone"]
    assert images.no_files == {f"{tmp_path}/gone"}
    for name in ("here", "here too"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="Made: none of the 3 training images is a file"):
        Linked(cfg)


def test_a_registered_dataset_says_what_it_knows_before_it_is_read():
    assert brings_embeddings("EmbeddingFile")
    assert not brings_embeddings("DemoWorld")
    assert list(known_domains("CUBPainting")) == ["photo", "painting"]
    assert list(known_domains("DomainFolders")) == []
