from __future__ import annotations

import json
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
    domains = {"DATASET__SOURCE_DOMAINS": list(source), "DATASET__TARGET_DOMAINS": list(target)}
    return open_dataset(make_cfg(DATASET__NAME="DomainFolders", DATASET__ROOT=root, SEED=1, **domains, **keys))


def paths(items, root):
    return [Path(item.path).relative_to(root).as_posix() for item in items]


def refused(message, *args, **keys):
    with pytest.raises(InputError, match=message):
        build(*args, **keys)


def test_source_images_are_split_and_target_images_are_test(root):
    dataset = build(root)
    assert list(dataset.domain_names) == ["cartoon", "photo", "sketch"]
    assert list(dataset.classnames) == ["big-dog", "c10", "cat_fish"]
    assert list(dataset.prompt_names) == ["big dog", "c10", "cat fish"]
    assert dataset.sizes() == {"train": 21, "val": 3, "test": 6 + 30}
    items = [*dataset.train, *dataset.val, *dataset.test]
    assert len({item.path for item in items}) == 60
    assert {item.domain for item in [*dataset.train, *dataset.val]} == {1}
    for item in items:
        domain, name = Path(item.path).parts[-3:-1]
        assert (dataset.domain_names[item.domain], dataset.classnames[item.label]) == (domain, name)


def test_the_split_does_not_depend_on_where_the_folder_is(root, tmp_path):
    moved = shutil.copytree(root, tmp_path / "other" / "place")
    here, there = build(root), build(moved)
    for part, items in here.splits().items():
        assert paths(items, root) == paths(there.splits()[part], moved)


def test_every_class_of_every_source_keeps_a_training_image(tmp_path):
    root = make_domain_tree(tmp_path, DOMAINS, ["a", "b"], per_class=2)
    dataset = build(root, DOMAINS[:2], [], DATASET__VAL_FRACTION=0.4, DATASET__TEST_FRACTION=0.5)
    kept = [(item.domain, item.label) for item in dataset.train]
    assert sorted(kept) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_shares_shots_and_targets_may_be_left_out(root):
    none = build(root, DATASET__VAL_FRACTION=0.0, DATASET__TEST_FRACTION=0.0)
    assert none.sizes() == {"train": 30, "val": 0, "test": 30}
    assert {item.domain for item in build(root, target=[]).test} == {1}
    few = build(root, source=["photo", "cartoon"], DATASET__NUM_SHOTS=4)
    assert Counter(item.label for item in few.train) == {0: 4, 1: 4, 2: 4}
    refused(r"DATASET.NUM_SHOTS is 8, but class 'big-dog' has 7", root, DATASET__NUM_SHOTS=8)


def test_folders_of_files_and_hidden_folders_are_no_domains(root):
    (root / "splits").mkdir()
    (root / "splits" / "photo.txt").touch()
    (root / ".cache" / "cat").mkdir(parents=True)
    (root / "photo" / ".ipynb_checkpoints").mkdir()
    assert list(build(root).domain_names) == ["cartoon", "photo", "sketch"]


@pytest.fixture
def split_file(tmp_path):
    """Writes a split file, from text or lists, and gives its path."""

    def write(content):
        (tmp_path / "split.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "split.json"

    return write


def test_a_split_file_says_what_each_source_image_is_for(root, split_file):
    train = ["photo/c10/1.png", "photo/big-dog/0.png", "./photo/cat_fish/2.png", "sketch/c10/1.png"]
    file = split_file({"train": train, "test": ["photo/c10/2.png", "cartoon/c10/1.png"]})
    dataset = build(root, DATASET__SPLIT_FILE=file)
    assert paths(dataset.train, root) == ["photo/c10/1.png", "photo/big-dog/0.png", "photo/cat_fish/2.png"]
    assert paths(dataset.test, root)[0] == "photo/c10/2.png"
    assert dataset.sizes() == {"train": 3, "val": 0, "test": 31}


@pytest.mark.parametrize(("listed", "on_disk"), [("\u00e9", "e\u0301"), ("e\u0301", "\u00e9")])
def test_a_split_file_may_write_accents_as_another_file_system_does(root, split_file, listed, on_disk):
    (root / "photo/c10/1.png").rename(root / f"photo/c10/{on_disk}.png")
    file = split_file({"train": ["photo/big-dog/0.png", "photo/cat_fish/2.png", f"photo/c10/{listed}.png"]})
    assert paths(build(root, DATASET__SPLIT_FILE=file).train, root)[2] == f"photo/c10/{on_disk}.png"


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
def test_split_files_that_do_not_fit_are_refused(root, split_file, content, message):
    refused(message, root, DATASET__SPLIT_FILE=split_file(content))


def moved(old, new):
    return lambda root: shutil.move(root / old, root / new)


def removed(place):
    return lambda root: shutil.rmtree(root / place)


def unchanged(root):
    pass


# A change to the tree, where the root is then, what is asked for, and the refusal.
REFUSED = {
    "class in one domain": (
        moved("sketch/c10", "sketch/c_10"), "", {}, "class 'c10' is in domain 'photo' only, and missing in 'sketch'",
    ),
    "class in no source": (
        removed("photo/c10"), "", {"target": ["sketch", "cartoon"]}, "in domain 'sketch', 'cartoon' only, and missing",
    ),
    "empty class": (lambda root: (root / "photo/eel").mkdir(), "", {}, "class folder '.*photo/eel' has no images"),
    "no domains": (unchanged, "photo", {}, "hold images directly; put these class folders into a folder per domain"),
    "no images": (unchanged, "photo/c10", {}, "has no <domain>/<class>/ folders of images: give the folder right"),
    "no root": (unchanged, "gone", {}, "gone' does not exist: give the folder that holds <domain>/<class>/"),
    "misspelt": (unchanged, "", {"target": ["skech"]}, "unknown target domain.*'skech': did you mean 'sketch'"),
    "nothing to test on": (
        unchanged, "", {"target": [], "DATASET__TEST_FRACTION": 0.0}, "no test image: name --target-domains or raise",
    ),
    "no split file": (unchanged, "", {"DATASET__SPLIT_FILE": "gone.json"}, r"cannot read .*SPLIT_FILE 'gone\.json'"),
    "unknown origin": (unchanged, "", {"DATASET__ORIGIN": "packs"}, "unknown DATASET.ORIGIN 'packs': did you mean 'pa"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "place", "keys", "message"), REFUSED.values(), ids=REFUSED)
def test_trees_and_domains_that_cannot_be_used_are_refused(root, change, place, keys, message):
    change(root)
    refused(message, root / place, **keys)


def test_a_class_that_one_target_lacks_is_warned_of(root, caplog):
    shutil.rmtree(root / "cartoon" / "c10")
    build(root, target=["sketch", "cartoon"])
    assert "class 'c10' is missing in domain 'cartoon'" in caplog.text


def test_a_source_domain_without_test_images_is_refused_where_sources_are_tested_on(root, split_file):
    for number in range(2, 10):
        for path in (root / "cartoon").glob(f"*/{number}.png"):
            path.unlink()
    sources = ["photo", "cartoon"]
    refused("^domain 'cartoon' has no test image: raise DATASET.TEST_FRACTION, or set", root, sources)
    assert len(build(root, sources, DATASET__TEST_FRACTION=0.0).test) == 30
    lists = {"train": [f"{domain}/{name}/0.png" for domain in sources for name in ("big-dog", "cat_fish", "c10")]}
    assert len(build(root, sources, DATASET__SPLIT_FILE=split_file(lists)).test) == 30
    file = split_file(lists | {"test": ["photo/c10/1.png"]})
    refused(
        "^domain 'cartoon' has no test image: list one in DATASET.SPLIT_FILE$", root, sources, DATASET__SPLIT_FILE=file
    )


# A dataset with an origin, complete with 30 images in each domain.
PUBLISHED = {f"DATASET__EXPECTED_IMAGES.{domain}": 30 for domain in DOMAINS} | {"DATASET__ORIGIN": "pacs"}


def test_a_complete_copy_passes(root, caplog):
    assert paths(build(root.parent, DATASET__FOLDER="images", **PUBLISHED).train, root) == paths(
        build(root).train, root
    )
    # Domains that are not chosen are not counted.
    (root / "cartoon" / "c10" / "0.png").unlink()
    build(root, **PUBLISHED)
    assert not caplog.messages


def test_a_domain_with_another_number_of_images_is_refused_or_warned_of(root, caplog):
    (root / "sketch" / "c10" / "0.png").unlink()
    found = "images/sketch' has 29 images, expected 30"
    refused(f"{found}: {HOW}; DATASET.ALLOW_PARTIAL True", root, **PUBLISHED)
    refused(f"{found}; DATASET.ALLOW_PARTIAL True", root, **PUBLISHED | {"DATASET__ORIGIN": ""})
    assert len(build(root, **PUBLISHED, DATASET__ALLOW_PARTIAL=True).test) == 6 + 29
    assert f"{found}: taken as it is" in caplog.text


def test_what_a_published_copy_lacks_is_named_with_where_to_get_it(root):
    refused(rf"gone' does not exist: .* holds PACS/ with .*; {HOW}", root / "gone", DATASET__FOLDER="PACS", **PUBLISHED)
    refused("unknown target domain.*'skech'", root, target=["skech"], **PUBLISHED)
    shutil.rmtree(root / "sketch" / "c10")
    refused(f"images/sketch' has 20 images, expected 30: {HOW}", root, **PUBLISHED)
    shutil.rmtree(root / "sketch")
    refused(f"images' lacks domain 'sketch', found 'cartoon', 'photo'; {HOW}", root, **PUBLISHED)
    (root / "PACS").mkdir()
    refused(f"PACS' has no <domain>/<class>/ folders of images: .*; {HOW}", root, DATASET__FOLDER="PACS", **PUBLISHED)


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
