from __future__ import annotations

import hashlib
import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lare_dassl.datasets import cifar100
from lare_dassl.datasets.base.class_names import CIFAR100_CLASSES
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.errors import InputError
from tests.datasets.cifar_writing import official_meta, official_rows, pixels, python2_pickle, write_official
from tests.helpers import make_cfg

LABELS = {"train": [*range(100), *range(100), *range(100)], "test": [*range(99, -1, -1)]}
SLICE = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-slice"
HOW = r"`python tools/prepare_data.py cifar100 --root DATA` says what is missing and where to get it"


@pytest.fixture(scope="module")
def contents():
    """Small official files: three training images and one test image of each class."""
    return {split: official_rows(labels) for split, labels in LABELS.items()} | {"meta": official_meta()}


@pytest.fixture(autouse=True)
def small(contents, monkeypatch):
    monkeypatch.setattr(cifar100, "COUNTS", {"train": 3, "test": 1})
    published = {split: hashlib.md5(python2_pickle(contents[split])).hexdigest() for split in LABELS}
    monkeypatch.setattr(cifar100, "MD5", published)


@pytest.fixture(scope="module")
def written(contents, tmp_path_factory):
    """A root with official files, which one test after another may unpack."""
    root = tmp_path_factory.mktemp("cifar")
    write_official(root / "cifar-100-python", contents)
    return root


@pytest.fixture
def root(written, tmp_path):
    shutil.copytree(written / "cifar-100-python", tmp_path / "cifar-100-python")
    return tmp_path


@pytest.fixture
def tree(tmp_path):
    """A root with image folders, named as on the web page of CIFAR-100 where it has other names."""
    spelled = {"sweet_pepper": "Sweet Peppers", "maple_tree": "maple", "lawn_mower": "lawn-mower", "apple": "apples"}
    for split, count in (("train", 3), ("test", 1)):
        for name in CIFAR100_CLASSES:
            folder = tmp_path / "cifar100" / split / spelled.get(name, name)
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").touch()
    return tmp_path


def build(root, **keys):
    keys = {"DATASET__VAL_FRACTION": 0.3, "SEED": 1} | keys
    return open_dataset(make_cfg(DATASET__NAME="CIFAR100Official", DATASET__ROOT=root, **keys))


def paths(items):
    return [item.path for item in items]


def test_official_files_are_one_domain_with_train_val_and_test(written):
    dataset = build(written)
    assert (*dataset.domain_names, *dataset.source_domains, *dataset.target_domains) == ("photo", "photo")
    assert Counter(item.label for item in dataset.train) == dict.fromkeys(range(100), 2)
    assert Counter(item.label for item in dataset.val) == dict.fromkeys(range(100), 1)
    assert [item.label for item in dataset.test] == list(range(100))
    assert list(dataset.classnames) == list(CIFAR100_CLASSES)
    assert dataset.prompt_names[1:3] == ("aquarium fish", "baby")


def test_every_image_is_unpacked_without_loss_under_its_row(written):
    dataset = build(written)
    # Rows 9, 109 and 209 have the same name in the official files.
    assert sorted(path.name for path in (written / "cifar-100-images" / "train" / "bottle").iterdir()) == [
        "00009_bottle_s_000001.png",
        "00109_bottle_s_000001.png",
        "00209_bottle_s_000001.png",
    ]
    for item in [*dataset.train, *dataset.val, *dataset.test]:
        row = int(Path(item.path).name[:5])
        np.testing.assert_array_equal(np.asarray(Image.open(item.path)), pixels(row))
        split, name = Path(item.path).parts[-3:-1]
        assert LABELS[split][row] == item.label
        assert CIFAR100_CLASSES[item.label] == name


def test_unpacked_images_serve_without_the_official_files_and_without_reading_them(root, monkeypatch):
    first = build(root)
    monkeypatch.setattr(cifar100, "read_rows", None)
    assert paths(build(root).train) == paths(first.train)
    shutil.rmtree(root / "cifar-100-python")
    assert paths(build(root).test) == paths(first.test)


def test_files_of_other_content_are_refused_or_unpacked_anew_with_a_warning(root, caplog):
    build(root)
    write_official(root / "cifar-100-python", {"train": official_rows(LABELS["train"], first=500)})
    with pytest.raises(InputError, match=rf"train' has md5 \w+, the official file \w+: {HOW}; DATASET.ALLOW_PARTIAL"):
        build(root)
    with caplog.at_level(logging.WARNING):
        item = build(root, DATASET__ALLOW_PARTIAL=True).train[0]
    assert "taken as it is (DATASET.ALLOW_PARTIAL)" in caplog.text
    np.testing.assert_array_equal(np.asarray(Image.open(item.path)), pixels(500 + int(Path(item.path).name[:5])))
    assert len(list((root / "cifar-100-images").rglob("*.png"))) == 400


def test_a_killed_unpacking_leaves_nothing_that_counts_and_is_done_again(root, monkeypatch):
    saved = []

    def killed(image, *args, **keywords):
        saved.append(image)
        if len(saved) > 350:
            raise KeyboardInterrupt
        save(image, *args, **keywords)

    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        build(root)
    assert [path.name for path in (root / "cifar-100-images").iterdir()] == ["train"]
    monkeypatch.setattr(Image.Image, "save", save)
    assert len(build(root).test) == 100


def test_names_of_official_files_cannot_leave_their_folder(root, contents):
    names = [b"../../etc/passwd.png", b"a b\n.PNG" + b"x" * 500, *contents["test"][b"filenames"][2:]]
    write_official(root / "cifar-100-python", {"test": contents["test"] | {b"filenames": names}})
    dataset = build(root / "cifar-100-python", DATASET__ALLOW_PARTIAL=True)
    assert [path.rpartition("/")[2] for path in paths(dataset.test)[:-3:-1]] == [
        "00000__etc_passwd.png",
        "00001_a_b_PNG" + "x" * 73 + ".png",
    ]
    # The root may be the folder of the official files.
    assert dataset.root == root / "cifar-100-python" / "cifar-100-images"


def test_image_folders_are_matched_by_their_names(tree):
    dataset = build(tree)
    assert dataset.sizes() == {"train": 200, "val": 100, "test": 100}
    of_class = {Path(item.path).parent.name: item.label for item in dataset.test}
    assert of_class["Sweet Peppers"] == CIFAR100_CLASSES.index("sweet_pepper")
    assert of_class["maple"] == CIFAR100_CLASSES.index("maple_tree")
    assert paths(build(tree / "cifar100").train) == paths(dataset.train)
    assert dataset.root == build(tree / "cifar100").root == tree / "cifar100"
    assert build(tree, DATASET__VAL_FRACTION=0.0).sizes() == {"train": 300, "val": 0, "test": 100}
    assert len(build(tree, DATASET__NUM_SHOTS=1).train) == 100


def test_a_count_that_is_not_the_published_one_is_refused_or_told(tree, caplog):
    (tree / "cifar100" / "train" / "bear" / "2.png").unlink()
    message = r"train' has 299 images, expected 300 \(2 of class 'bear', expected 3\)"
    with pytest.raises(InputError, match=f"{message}: {HOW}"):
        build(tree)
    with caplog.at_level(logging.WARNING):
        assert len(build(tree, DATASET__ALLOW_PARTIAL=True, DATASET__VAL_FRACTION=0.0).train) == 299
    assert "299 images, expected 300" in caplog.text


def move(old, new):
    return lambda root: shutil.move(root / "cifar100" / old, root / "cifar100" / new)


def remove(pattern):
    return lambda root: [path.unlink() for path in root.glob(pattern)]


# A change to the image folders, whether a partial copy is allowed, and the refusal.
CHANGES = {
    "no apples": (move("train/apples", "gone"), False, rf"train' lacks 1 classes \(apple\): {HOW}"),
    "no apples at all": (move("train/apples", "gone"), True, r"1 of 100 classes have no training image in '.*': apple"),
    "no test image": (remove("cifar100/test/*/*.png"), True, rf"^domain 'photo' has no test image: {HOW}"),
    "two folders": (move("train/bear", "train/apple"), False, "two folders of class 'apple', 'apple' and 'apples'"),
    "misspelt": (move("train/apples", "train/aple"), False, r"unknown class of .*train', 'aple': did you mean 'apple'"),
    "neither": (move("test", "gone"), False, r"neither the official files .* nor image folders .*prepare_data.py cifa"),
}


@pytest.mark.parametrize(("change", "partial", "message"), CHANGES.values(), ids=CHANGES)
def test_folders_that_are_not_those_of_cifar100_are_refused(tree, change, partial, message):
    change(tree)
    with pytest.raises(InputError, match=message):
        build(tree, DATASET__ALLOW_PARTIAL=partial)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("cifar-100-python/test"), rf"no official file '.*python/test': {HOW}"),
        (remove("cifar-100-python/meta"), rf"cannot read '.*python/meta'.*: {HOW}"),
        (lambda root: (root / "cifar-100-images").touch(), "^cannot write to .*cifar-100-images .the images of CIFAR-"),
        (shutil.rmtree, "does not exist: give the folder that holds .* cifar100/ with --root; " + HOW),
    ],
)
def test_official_files_that_cannot_be_unpacked_are_told_in_one_line(root, change, message):
    change(root)
    with pytest.raises(InputError, match=message):
        build(root)


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(root, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match=r"^cannot write .*cifar-100-images/train: No space left on device: make room"):
        build(root)
    assert list((root / "cifar-100-images").iterdir()) == []


def test_there_is_no_other_domain_to_test_on(root):
    with pytest.raises(InputError, match=r"'painting'.*known: photo"):
        build(root, DATASET__SOURCE_DOMAINS=["photo"], DATASET__TARGET_DOMAINS=["painting"])


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data/cifar-100-slice")
def test_the_real_slice_is_taken_as_a_partial_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "COUNTS", {"train": 500, "test": 100})
    (tmp_path / "cifar-100-python").symlink_to(SLICE / "cifar-100-python")
    dataset = build(tmp_path, DATASET__ALLOW_PARTIAL=True, DATASET__VAL_FRACTION=0.1)
    assert dataset.sizes() == {"train": 1_800, "val": 200, "test": 1_000}
    with pytest.raises(InputError, match=r"train' has 2,000 images, expected 50,000 \(20 of class 'apple', expected 5"):
        build(tmp_path)
