from __future__ import annotations

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
from tests.datasets.cifar_writing import official_meta, official_rows, pixels, write_official
from tests.helpers import make_cfg

LABELS = {"train": [*range(100), *range(100), *range(100)], "test": [*range(99, -1, -1)]}
SLICE = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-slice"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Three training images and one test image of each class."""
    monkeypatch.setattr(cifar100, "COUNTS", cifar100.Counts(train=3, test=1))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A root with small official files, which one test after another may unpack."""
    root = tmp_path_factory.mktemp("cifar")
    contents = {split: official_rows(labels) for split, labels in LABELS.items()}
    write_official(root / "cifar-100-python", contents | {"meta": official_meta()})
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


def test_official_files_are_one_domain_with_train_val_and_test(written):
    dataset = build(written)
    assert (*dataset.domain_names, *dataset.source_domains, *dataset.target_domains) == ("photo", "photo")
    assert Counter(item.label for item in dataset.train) == dict.fromkeys(range(100), 2)
    assert Counter(item.label for item in dataset.val) == dict.fromkeys(range(100), 1)
    assert [item.label for item in dataset.test] == list(range(100))
    assert list(dataset.classnames) == list(CIFAR100_CLASSES)
    assert dataset.prompt_names[1:3] == ("aquarium fish", "baby")
    assert {item.domain for item in [*dataset.train, *dataset.val, *dataset.test]} == {0}


def test_every_image_is_unpacked_without_loss_under_its_row(written):
    dataset = build(written)
    images = written / "cifar-100-images"
    # Rows 9, 109 and 209 have the same name in the official files.
    assert sorted(path.name for path in (images / "train" / "bottle").iterdir()) == [
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


def test_it_is_unpacked_once(written, monkeypatch):
    first = build(written)
    monkeypatch.setattr(cifar100, "read_rows", None)
    second = build(written)
    assert [item.path for item in second.train] == [item.path for item in first.train]


def test_unpacked_images_serve_without_the_official_files(root):
    first = build(root)
    shutil.rmtree(root / "cifar-100-python")
    assert [item.path for item in build(root).test] == [item.path for item in first.test]


def test_other_official_files_are_unpacked_anew(root):
    build(root)
    contents = {"train": official_rows(LABELS["train"], first=500)}
    write_official(root / "cifar-100-python", contents)
    item = build(root).train[0]
    row = int(Path(item.path).name[:5])
    np.testing.assert_array_equal(np.asarray(Image.open(item.path)), pixels(500 + row))
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


def test_the_root_may_be_the_folder_of_the_official_files(root):
    dataset = build(root / "cifar-100-python")
    assert len(dataset.test) == 100
    assert dataset.root == root / "cifar-100-python" / "cifar-100-images"
    assert (dataset.root / "test").is_dir()


def test_names_of_official_files_cannot_leave_their_folder(tmp_path):
    assert cifar100._file_name(7, "../../etc/passwd.png") == "00007__etc_passwd.png"
    assert cifar100._file_name(12, "a b\n.PNG" + "x" * 500) == "00012_a_b_PNG" + "x" * 73 + ".png"


def test_image_folders_are_matched_by_their_names(tree):
    dataset = build(tree)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (200, 100, 100)
    assert list(dataset.classnames) == list(CIFAR100_CLASSES)
    of_class = {Path(item.path).parent.name: item.label for item in dataset.test}
    assert of_class["Sweet Peppers"] == CIFAR100_CLASSES.index("sweet_pepper")
    assert of_class["maple"] == CIFAR100_CLASSES.index("maple_tree")
    assert build(tree / "cifar100").train[0].path == dataset.train[0].path
    assert dataset.root == build(tree / "cifar100").root == tree / "cifar100"


def test_the_val_share_and_shots(tree):
    assert build(tree, DATASET__VAL_FRACTION=0.0).val == []
    assert len(build(tree, DATASET__VAL_FRACTION=0.0).train) == 300
    assert len(build(tree, DATASET__NUM_SHOTS=1).train) == 100


def test_a_count_that_is_not_the_published_one_is_refused_or_told(tree, caplog):
    (tree / "cifar100" / "train" / "bear" / "2.png").unlink()
    message = r"train' has 299 images, expected 300 \(2 of class 'bear', expected 3\)"
    with pytest.raises(InputError, match=rf"{message}: `python tools/prepare_data.py cifar100 --root DATA` says"):
        build(tree)
    with caplog.at_level(logging.WARNING):
        assert len(build(tree, DATASET__ALLOW_PARTIAL=True, DATASET__VAL_FRACTION=0.0).train) == 299
    assert "299 images, expected 300" in caplog.text


def test_a_missing_class_folder_is_named(tree):
    shutil.rmtree(tree / "cifar100" / "train" / "apples")
    shutil.rmtree(tree / "cifar100" / "test" / "bear")
    with pytest.raises(InputError, match=r"train' lacks 1 classes \(apple\): `python tools/prepare_data.py cifar100"):
        build(tree)
    with pytest.raises(InputError, match=r"1 of 100 classes have no training image in '.*': apple; give each"):
        build(tree, DATASET__ALLOW_PARTIAL=True)


def test_a_copy_without_test_images_is_refused_of_a_partial_copy_too(tree):
    for path in (tree / "cifar100" / "test").glob("*/*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"^domain 'photo' has no test image: `python tools/prepare_data.py cifar100 "):
        build(tree, DATASET__ALLOW_PARTIAL=True)


def test_unknown_and_double_class_folders_are_named(tree):
    (tree / "cifar100" / "train" / "apple").mkdir()
    with pytest.raises(InputError, match=r"two folders of class 'apple', 'apple' and 'apples': keep one"):
        build(tree)
    shutil.move(tree / "cifar100" / "train" / "apple", tree / "cifar100" / "train" / "aple")
    with pytest.raises(InputError, match=r"unknown class of CIFAR-100 in '.*train', 'aple': did you mean 'apple'\?"):
        build(tree)


def test_a_root_without_either_is_explained(tmp_path):
    (tmp_path / "cifar100").mkdir()
    message = (
        r"neither the official files cifar-100-python/\{train,test,meta\} nor image folders .*prepare_data.py cifar1"
    )
    with pytest.raises(InputError, match=message):
        build(tmp_path)
    with pytest.raises(InputError, match=r"gone' does not exist: give .* cifar100/ with --root; `python tools/prepare"):
        build(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "message"), [("test", "no official file '.*python/test'"), ("meta", "cannot read '.*python/meta'")]
)
def test_a_missing_official_file_is_named(root, name, message):
    (root / "cifar-100-python" / name).unlink()
    with pytest.raises(InputError, match=rf"{message}.*: `python tools/prepare_data.py cifar100 --root DATA`"):
        build(root)


def test_a_root_that_cannot_be_written_to_is_told_in_one_line(root):
    (root / "cifar-100-images").write_text("")
    with pytest.raises(InputError, match=r"^cannot write to .*cifar-100-images \(the images of CIFAR-100 are unpacked"):
        build(root)


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(root, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(
        InputError, match=r"^cannot write .*cifar-100-images/train: No space left on device: make room there"
    ):
        build(root)
    assert list((root / "cifar-100-images").iterdir()) == []


def test_there_is_no_other_domain_to_test_on(root):
    with pytest.raises(InputError, match=r"'painting'.*known: photo"):
        build(root, DATASET__SOURCE_DOMAINS=["photo"], DATASET__TARGET_DOMAINS=["painting"])


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data/cifar-100-slice")
def test_the_real_slice_is_taken_as_a_partial_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "COUNTS", cifar100.Counts())
    (tmp_path / "cifar-100-python").symlink_to(SLICE / "cifar-100-python")
    with pytest.raises(
        InputError, match=r"train' has 2,000 images, expected 50,000 \(20 of class 'apple', expected 500\)"
    ):
        build(tmp_path)
    dataset = build(tmp_path, DATASET__ALLOW_PARTIAL=True, DATASET__VAL_FRACTION=0.1)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (1_800, 200, 1_000)
