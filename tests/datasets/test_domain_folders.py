from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lare_dassl.config import merging
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.sources import SOURCES
from lare_dassl.errors import InputError
from tests.helpers import make_cfg, make_domain_tree

DOMAINS = ["photo", "sketch", "cartoon"]
CONFIGS = Path(__file__).parents[2] / "configs"
HOW = "`python tools/prepare_data.py pacs --root DATA` says what is missing and where to get it"
PACS = Path(__file__).parents[3] / "shared" / "data" / "pacs-slice"


@pytest.fixture
def root(tmp_path):
    return make_domain_tree(tmp_path / "images", DOMAINS, ["big-dog", "cat_fish", "c10"], per_class=10)


def build(root, source=("photo",), target=("sketch",), **keys):
    return open_dataset(
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
    return [Path(item.path).relative_to(root).as_posix() for item in items]


def test_source_images_are_split_and_target_images_are_test(root):
    dataset = build(root)
    photos = [item for item in dataset.test if item.domain == dataset.domain_names.index("photo")]
    sketches = [item for item in dataset.test if item.domain == dataset.domain_names.index("sketch")]
    assert (len(dataset.train), len(dataset.val), len(photos), len(sketches)) == (21, 3, 6, 30)
    used = paths([*dataset.train, *dataset.val, *dataset.test], root)
    assert len(set(used)) == len(used) == 60
    assert {item.domain for item in [*dataset.train, *dataset.val]} == {dataset.domain_names.index("photo")}


def test_labels_domains_and_names_follow_the_folders(root):
    dataset = build(root)
    assert list(dataset.domain_names) == ["cartoon", "photo", "sketch"]
    assert list(dataset.classnames) == ["big-dog", "c10", "cat_fish"]
    assert list(dataset.prompt_names) == ["big dog", "c10", "cat fish"]
    for item in dataset.test:
        domain, name = Path(item.path).parts[-3:-1]
        assert (dataset.domain_names[item.domain], dataset.classnames[item.label]) == (domain, name)


def test_the_split_does_not_depend_on_where_the_folder_is(root, tmp_path):
    moved = shutil.copytree(root, tmp_path / "other" / "place")
    for part in ("train", "val", "test"):
        assert paths(getattr(build(root), part), root) == paths(getattr(build(moved), part), moved)


def test_every_class_of_every_source_keeps_a_training_image(tmp_path):
    root = make_domain_tree(tmp_path, DOMAINS, ["a", "b"], per_class=2)
    dataset = build(root, source=DOMAINS[:2], target=[], DATASET__VAL_FRACTION=0.4, DATASET__TEST_FRACTION=0.5)
    assert Counter((item.domain, item.label) for item in dataset.train) == {
        (domain, label): 1 for domain in (1, 2) for label in (0, 1)
    }


def test_shares_of_zero_leave_val_empty(root):
    dataset = build(root, DATASET__VAL_FRACTION=0.0, DATASET__TEST_FRACTION=0.0)
    assert (len(dataset.train), dataset.val, len(dataset.test)) == (30, [], 30)


def test_without_targets_there_is_only_the_in_domain_test(root):
    assert {item.domain for item in build(root, target=[]).test} == {1}


def test_num_shots_keeps_some_training_images_of_each_class(root):
    dataset = build(root, source=["photo", "cartoon"], DATASET__NUM_SHOTS=4)
    assert Counter(item.label for item in dataset.train) == {0: 4, 1: 4, 2: 4}
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
    assert paths(dataset.train, root) == ["photo/c10/1.png", "photo/big-dog/0.png", "photo/cat_fish/2.png"]
    assert dataset.val == []
    assert paths(dataset.test, root)[0] == "photo/c10/2.png"
    assert len(dataset.test) == 31


@pytest.mark.parametrize(("listed", "on_disk"), [("\u00e9", "e\u0301"), ("e\u0301", "\u00e9")])
def test_a_split_file_may_write_accents_as_another_file_system_does(root, tmp_path, listed, on_disk):
    (root / "photo/c10/1.png").rename(root / f"photo/c10/{on_disk}.png")
    train = ["photo/big-dog/0.png", "photo/cat_fish/2.png", f"photo/c10/{listed}.png"]
    (tmp_path / "split.json").write_text(json.dumps({"train": train}))
    dataset = build(root, DATASET__SPLIT_FILE=tmp_path / "split.json")
    assert paths(dataset.train, root)[2] == f"photo/c10/{on_disk}.png"


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
        ('{"train": ["photo/c10/1.png"]}', "2 of 3 classes have no training image in '.*': big-dog, cat_fish"),
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


def test_a_source_domain_without_test_images_is_refused_where_sources_are_tested_on(root, tmp_path):
    for name in ("big-dog", "cat_fish", "c10"):
        for number in range(2, 10):
            (root / "cartoon" / name / f"{number}.png").unlink()
    sources = ["photo", "cartoon"]
    with pytest.raises(InputError, match=r"^domain 'cartoon' has no test image: raise DATASET.TEST_FRACTION, or set"):
        build(root, source=sources)
    assert len(build(root, source=sources, DATASET__TEST_FRACTION=0.0).test) == 30
    lists = {"train": [f"{domain}/{name}/0.png" for domain in sources for name in ("big-dog", "cat_fish", "c10")]}
    (tmp_path / "split.json").write_text(json.dumps(lists))
    assert len(build(root, source=sources, DATASET__SPLIT_FILE=tmp_path / "split.json").test) == 30
    (tmp_path / "split.json").write_text(json.dumps(lists | {"test": ["photo/c10/1.png"]}))
    with pytest.raises(InputError, match=r"^domain 'cartoon' has no test image: list one in DATASET.SPLIT_FILE$"):
        build(root, source=sources, DATASET__SPLIT_FILE=tmp_path / "split.json")


def published(**keys):
    """A dataset with an origin, complete with 30 images in each domain."""
    return {f"DATASET__EXPECTED_IMAGES.{domain}": 30 for domain in DOMAINS} | {"DATASET__ORIGIN": "pacs"} | keys


def test_the_tree_may_be_in_a_folder_below_the_root(root):
    dataset = build(root.parent, DATASET__FOLDER="images")
    assert paths(dataset.train, root) == paths(build(root, DATASET__FOLDER="images").train, root)
    assert list(dataset.domain_names) == ["cartoon", "photo", "sketch"]


def test_a_complete_copy_passes(root, caplog):
    build(root, **published())
    # Domains that are not chosen are not counted.
    (root / "cartoon" / "c10" / "0.png").unlink()
    build(root, **published())
    assert not caplog.messages


def test_a_domain_with_another_number_of_images_is_refused_or_told_of(root, caplog):
    (root / "sketch" / "c10" / "0.png").unlink()
    with pytest.raises(
        InputError, match=rf"images/sketch' has 29 images, expected 30: {HOW}; DATASET.ALLOW_PARTIAL Tr"
    ):
        build(root, **published())
    with pytest.raises(InputError, match=r"images/sketch' has 29 images, expected 30; DATASET.ALLOW_PARTIAL True"):
        build(root, **published(DATASET__ORIGIN=""))
    with caplog.at_level(logging.WARNING):
        assert len(build(root, **published(DATASET__ALLOW_PARTIAL=True)).test) == 6 + 29
    assert "has 29 images, expected 30: taken as it is" in caplog.text


def test_a_half_unpacked_copy_is_told_by_its_count_not_its_classes(root):
    shutil.rmtree(root / "sketch" / "c10")
    with pytest.raises(InputError, match=rf"images/sketch' has 20 images, expected 30: {HOW}"):
        build(root, **published())


def test_a_domain_that_a_copy_lacks_is_named_with_where_to_get_it(root):
    shutil.rmtree(root / "sketch")
    with pytest.raises(InputError, match=rf"images' lacks domain 'sketch', found 'cartoon', 'photo'; {HOW}"):
        build(root, **published())
    with pytest.raises(InputError, match=r"unknown target domain.*'skech'"):
        build(root, target=["skech"], **published())


def test_a_missing_or_empty_root_says_where_to_get_the_dataset(root):
    with pytest.raises(InputError, match=rf"does not exist: give the folder that holds PACS/ with <domain>.*; {HOW}"):
        build(root / "gone", **published(DATASET__FOLDER="PACS"))
    (root / "PACS").mkdir()
    with pytest.raises(InputError, match=rf"PACS' has no <domain>/<class>/ folders of images: .*; {HOW}"):
        build(root, **published(DATASET__FOLDER="PACS"))


def test_an_unknown_origin_is_answered_with_the_nearest(root):
    with pytest.raises(InputError, match=r"unknown DATASET.ORIGIN 'packs': did you mean 'pacs'"):
        build(root, DATASET__ORIGIN="packs")


@pytest.mark.parametrize(("name", "images"), [("pacs", 9_991), ("office_home", 15_588), ("vlcs", 10_729)])
def test_the_configs_of_published_datasets_agree_with_their_sources(name, images):
    cfg = make_cfg()
    merging.merge_file(cfg, CONFIGS / f"{name}.yaml")
    (source,) = SOURCES[cfg.DATASET.ORIGIN]
    domains = {*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS}
    assert (name, source.gives) == (cfg.DATASET.ORIGIN, cfg.DATASET.FOLDER)
    assert domains == set(source.holds) == set(cfg.DATASET.EXPECTED_IMAGES)
    assert domains == {*cfg.DATASET.SOURCE_PROMPTS, *cfg.DATASET.TARGET_PROMPTS}
    assert sum(cfg.DATASET.EXPECTED_IMAGES.values()) == images


@pytest.mark.skipif(not PACS.is_dir(), reason="needs ../shared/data/pacs-slice")
def test_real_pacs_images():
    dataset = build(PACS, target=["art_painting", "cartoon", "sketch"])
    assert list(dataset.classnames) == ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (7 * 21, 7 * 3, 7 * 6 + 630)
