from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lare_dassl.dassl_api import build_dataset
from lare_dassl.errors import InputError
from tests.helpers import make_cfg, make_domain_tree

DOMAINS = ["photo", "sketch", "cartoon"]
PACS = Path(__file__).parents[3] / "shared" / "data" / "pacs-slice"


@pytest.fixture
def root(tmp_path):
    return make_domain_tree(tmp_path / "images", DOMAINS, ["big-dog", "cat_fish", "c10"], per_class=10)


def build(root, source=("photo",), target=("sketch",), **keys):
    return build_dataset(
        make_cfg(
            DATASET__NAME="DomainFolders",
            DATASET__ROOT=root,
            DATASET__SOURCE_DOMAINS=list(source),
            DATASET__TARGET_DOMAINS=list(target),
            SEED=1,
            **keys,
        )
    )


def paths(items, root):
    return [Path(item.impath).relative_to(root).as_posix() for item in items]


def test_source_images_are_split_and_target_images_are_test(root):
    dataset = build(root)
    photos = [item for item in dataset.test if item.domain == dataset.domain_names.index("photo")]
    sketches = [item for item in dataset.test if item.domain == dataset.domain_names.index("sketch")]
    assert (len(dataset.train_x), len(dataset.val), len(photos), len(sketches)) == (21, 3, 6, 30)
    used = paths([*dataset.train_x, *dataset.val, *dataset.test], root)
    assert len(set(used)) == len(used) == 60
    assert {item.domain for item in [*dataset.train_x, *dataset.val]} == {dataset.domain_names.index("photo")}


def test_labels_domains_and_names_follow_the_folders(root):
    dataset = build(root)
    assert dataset.domain_names == ["cartoon", "photo", "sketch"]
    assert dataset.classnames == ["big-dog", "c10", "cat_fish"]
    assert dataset.prompt_classnames == ["big dog", "c10", "cat fish"]
    for item in dataset.test:
        domain, name = Path(item.impath).parts[-3:-1]
        assert (dataset.domain_names[item.domain], dataset.classnames[item.label], item.classname) == (
            domain,
            name,
            name,
        )


def test_the_split_does_not_depend_on_where_the_folder_is(root, tmp_path):
    moved = shutil.copytree(root, tmp_path / "other" / "place")
    for part in ("train_x", "val", "test"):
        assert paths(getattr(build(root), part), root) == paths(getattr(build(moved), part), moved)


def test_every_class_of_every_source_keeps_a_training_image(tmp_path):
    root = make_domain_tree(tmp_path, DOMAINS, ["a", "b"], per_class=2)
    dataset = build(root, source=DOMAINS[:2], target=[], DATASET__VAL_FRACTION=0.4, DATASET__TEST_FRACTION=0.5)
    assert Counter((item.domain, item.label) for item in dataset.train_x) == {
        (domain, label): 1 for domain in (1, 2) for label in (0, 1)
    }


def test_shares_of_zero_leave_val_empty(root):
    dataset = build(root, DATASET__VAL_FRACTION=0.0, DATASET__TEST_FRACTION=0.0)
    assert (len(dataset.train_x), dataset.val, len(dataset.test)) == (30, [], 30)


def test_without_targets_there_is_only_the_in_domain_test(root):
    assert {item.domain for item in build(root, target=[]).test} == {1}


def test_num_shots_keeps_some_training_images_of_each_class(root):
    dataset = build(root, source=["photo", "cartoon"], DATASET__NUM_SHOTS=4)
    assert Counter(item.label for item in dataset.train_x) == {0: 4, 1: 4, 2: 4}
    with pytest.raises(InputError, match=r"DATASET.NUM_SHOTS is 8, but class 'big-dog' has 7"):
        build(root, DATASET__NUM_SHOTS=8)


def test_folders_of_files_and_hidden_folders_are_no_domains(root):
    (root / "splits").mkdir()
    (root / "splits" / "photo.txt").touch()
    (root / ".cache" / "cat").mkdir(parents=True)
    (root / "photo" / ".ipynb_checkpoints").mkdir()
    assert build(root).domain_names == ["cartoon", "photo", "sketch"]


def test_a_split_file_says_what_each_source_image_is_for(root, tmp_path):
    lists = {
        "train": ["photo/c10/1.png", "photo/big-dog/0.png", "./photo/cat_fish/2.png", "sketch/c10/1.png"],
        "test": ["photo/c10/2.png", "cartoon/c10/1.png"],
    }
    (tmp_path / "split.json").write_text(json.dumps(lists))
    dataset = build(root, DATASET__SPLIT_FILE=tmp_path / "split.json")
    assert paths(dataset.train_x, root) == ["photo/c10/1.png", "photo/big-dog/0.png", "photo/cat_fish/2.png"]
    assert dataset.val == []
    assert paths(dataset.test, root)[0] == "photo/c10/2.png"
    assert len(dataset.test) == 31


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read DATASET.SPLIT_FILE"),
        ('["a"]', "not a JSON object"),
        ('{"train": [], "dev": []}', "not a JSON object with the keys"),
        ('{"train": [1]}', "'train' is not a list of paths"),
        ('{"train": ["photo/c10/99.png"]}', "no image 'photo/c10/99.png' \\(listed in 'train'\\)"),
        ('{"train": ["cartoon/c10/99.png"]}', "no image 'cartoon/c10/99.png'"),
        ('{"train": ["photos/c10/1.png"]}', "no image 'photos/c10/1.png'"),
        ('{"train": ["photo/1.png"]}', "'photo/1.png' is not a path <domain>/<class>/<image>"),
        ('{"train": ["../photo/c10/1.png"]}', "is not a path <domain>/<class>/<image>"),
        ('{"train": ["photo/c10/1.png"], "val": ["photo/c10/1.png"]}', "is in 'train' and again in 'val'"),
        ('{"train": ["photo/c10/1.png"]}', "class 'big-dog' has no training image"),
    ],
)
def test_split_files_that_do_not_fit_are_refused(root, tmp_path, content, message):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(InputError, match=message):
        build(root, DATASET__SPLIT_FILE=tmp_path / "split.json")


def test_a_missing_split_file_is_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"cannot read DATASET.SPLIT_FILE '.*gone\.json'"):
        build(root, DATASET__SPLIT_FILE=tmp_path / "gone.json")


def test_a_class_in_one_domain_only_is_refused(root):
    shutil.move(root / "sketch" / "c10", root / "sketch" / "c_10")
    with pytest.raises(InputError, match="class 'c10' is in domain 'photo' only, and missing in 'sketch'"):
        build(root)


def test_a_class_in_no_source_domain_is_refused(root):
    shutil.rmtree(root / "photo" / "c10")
    with pytest.raises(InputError, match="class 'c10' is in domain 'sketch', 'cartoon' only, and missing in 'photo'"):
        build(root, target=["sketch", "cartoon"])


def test_a_class_that_one_target_lacks_is_told_of(root, caplog):
    shutil.rmtree(root / "cartoon" / "c10")
    with caplog.at_level(logging.WARNING):
        build(root, target=["sketch", "cartoon"])
    assert "class 'c10' is missing in domain 'cartoon'" in caplog.text


def test_an_empty_class_folder_is_named(root):
    (root / "photo" / "eel").mkdir()
    with pytest.raises(InputError, match=r"class folder '.*photo/eel' has no images"):
        build(root)


def test_folders_of_classes_without_domains_are_explained(root):
    with pytest.raises(InputError, match="hold images directly; put these class folders into a folder per domain"):
        build(root / "photo")


def test_a_root_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no <domain>/<class>/ folders of images: give the folder right above"):
        build(tmp_path)


def test_a_missing_root_is_refused(tmp_path):
    with pytest.raises(InputError, match="gone' does not exist: give the folder that holds <domain>/<class>/"):
        build(tmp_path / "gone")


def test_an_unknown_domain_is_answered_with_the_nearest(root):
    with pytest.raises(InputError, match=r"unknown target domain.*'skech': did you mean 'sketch'"):
        build(root, target=["skech"])


def test_nothing_to_test_on_is_refused(root):
    with pytest.raises(InputError, match=r"no test image: name --target-domains or raise DATASET.TEST_FRACTION"):
        build(root, target=[], DATASET__TEST_FRACTION=0.0)


@pytest.mark.skipif(not PACS.is_dir(), reason="needs ../shared/data/pacs-slice")
def test_real_pacs_images():
    dataset = build(PACS, target=["art_painting", "cartoon", "sketch"])
    assert dataset.classnames == ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    assert (len(dataset.train_x), len(dataset.val), len(dataset.test)) == (7 * 21, 7 * 3, 7 * 6 + 630)
