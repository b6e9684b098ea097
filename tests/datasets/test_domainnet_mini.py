from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lare_dassl.datasets import domainnet_mini
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.domainnet_mini import CLASSES
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

# Of all 345 classes, three that are not among the 40; labels count all of them in alphabetical order.
ALL_CLASSES = sorted([*CLASSES, "aircraft_carrier", "The_Eiffel_Tower", "zebra"])
BEAR = ALL_CLASSES.index("bear")
DOMAINS = ("clipart", "painting", "real", "sketch")
PER_CLASS = {"train": 4, "test": 2}
HOW = r"`python tools/prepare_data.py domainnet_mini --root DATA` says what is missing and where to get it"


def image(domain, name, split, number):
    return f"{domain}/{name}/{domain}_{split}_{number}.jpg"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small DomainNet: 4 train and 2 test images of each class in each domain."""
    root = tmp_path_factory.mktemp("domainnet")
    for domain in DOMAINS:
        for split, count in PER_CLASS.items():
            rows = [
                (image(domain, name, split, number), label)
                for label, name in enumerate(ALL_CLASSES)
                for number in range(count)
            ]
            folder = root / "domainnet"
            for path, _ in rows:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).touch()
            (folder / f"{domain}_{split}.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    return root


@pytest.fixture
def root(written, tmp_path, monkeypatch):
    counts = {(domain, split): 40 * PER_CLASS[split] for domain in DOMAINS for split in PER_CLASS}
    monkeypatch.setattr(domainnet_mini, "COUNTS", counts)
    folder = tmp_path / "domainnet"
    for path in (written / "domainnet").glob("*/*"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    for path in (written / "domainnet").glob("*.txt"):
        shutil.copy(path, folder)
    return tmp_path


def build(root, **keys):
    keys = {"DATASET__VAL_FRACTION": 0.25, "SEED": 1} | keys
    return open_dataset(make_cfg(DATASET__NAME="DomainNetMini", DATASET__ROOT=root, **keys))


def refused(message, root, **keys):
    with pytest.raises(InputError, match=message):
        build(root, **keys)


def edit(root, name, old, new):
    path = root / "domainnet" / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def drop_class(root, name, dropped):
    path = root / "domainnet" / name
    path.write_text("".join(line for line in path.open() if f"/{dropped}/" not in line))


def line_of(root, name, start):
    lines = (root / "domainnet" / name).read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.startswith(start))


def counts(items):
    return Counter((item.domain, item.label) for item in items)


def test_the_40_classes_and_the_published_counts():
    assert len(CLASSES) == 40
    assert list(CLASSES) == sorted(CLASSES)
    assert sum(domainnet_mini.COUNTS.values()) == 3_707 + 1_616 + 6_727 + 2_909 + 16_141 + 6_943 + 5_537 + 2_399


def test_sketch_trains_and_the_test_lists_of_all_domains_test(root):
    dataset = build(root)
    assert dataset.domain_names == DOMAINS
    assert (dataset.source_domains, dataset.target_domains) == (["sketch"], ["clipart", "painting", "real"])
    assert dataset.classnames == dataset.prompt_names == CLASSES
    assert counts(dataset.train) == {(3, label): 3 for label in range(40)}
    assert counts(dataset.val) == {(3, label): 1 for label in range(40)}
    assert counts(dataset.test) == {(domain, label): 2 for domain in range(4) for label in range(40)}
    assert all("_train_" in item.path for item in [*dataset.train, *dataset.val])
    for item in dataset.test:
        domain, name, file = Path(item.path).parts[-3:]
        assert (DOMAINS[item.domain], CLASSES[item.label]) == (domain, name)
        assert "_test_" in file


def test_only_files_of_the_chosen_domains_and_classes_are_needed(root):
    for domain in ("painting", "real"):
        shutil.rmtree(root / "domainnet" / domain)
        (root / "domainnet" / f"{domain}_test.txt").unlink()
    for name in ("painting_train.txt", "real_train.txt", "clipart_train.txt", "clipart/zebra", "sketch/zebra"):
        (root / "domainnet" / name).unlink()
    dataset = build(root, DATASET__SOURCE_DOMAINS=["sketch"], DATASET__TARGET_DOMAINS=["clipart"])
    assert Counter(item.domain for item in dataset.test) == {3: 80, 0: 80}


def test_several_sources_are_split_within_each_domain_and_class(root):
    dataset = build(root, DATASET__SOURCE_DOMAINS=["real", "clipart"], DATASET__TARGET_DOMAINS=["sketch"])
    assert counts(dataset.val) == {(domain, label): 1 for domain in (0, 2) for label in range(40)}
    assert len(dataset.train) == 2 * 40 * 3


def test_shots_are_drawn_and_a_val_share_of_zero_trains_on_the_whole_list(root):
    assert len(build(root, DATASET__NUM_SHOTS=2).train) == 80
    assert build(root, DATASET__VAL_FRACTION=0.0).sizes() == {"train": 160, "val": 0, "test": 320}


def test_the_root_may_be_the_folder_itself(root):
    one, other = build(root), build(root / "domainnet")
    assert one.root == other.root == root / "domainnet"
    assert one.train == other.train


@pytest.mark.parametrize(
    "line",
    [
        *("sketch/bear/sketch_1.jpg", "sketch/bear/sketch_1.jpg x", "sketch/sketch_1.jpg 3", ""),
        *("sketch/bear/deep/sketch_1.jpg 3", "clipart/bear/sketch_1.jpg 3", "sketch/../bear.jpg 3"),
        "sketch//bear.jpg 3",
    ],
)
def test_a_malformed_line_is_named(root, line):
    edit(root, "sketch_train.txt", image("sketch", "airplane", "train", 0) + " 2", line)
    number = 4 * ALL_CLASSES.index("airplane") + 1
    wanted = rf"sketch_train\.txt' line {number} is not 'sketch/<class>/<image> <label>': '{line}'; {HOW}"
    refused(wanted, root)


def test_a_path_or_a_label_given_twice_is_told_with_its_lines(root):
    name, bed = image("real", "bed", "test", 0), ALL_CLASSES.index("bed")
    edit(root, "real_test.txt", f"{name} {bed}", f"{name} {BEAR}")
    number = line_of(root, "real_test.txt", name)
    wanted = rf"real_test\.txt' line {number} gives label {BEAR} to class 'bed', and a line before to 'bear': {HOW}"
    refused(wanted, root)
    edit(root, "real_test.txt", f"{name} {BEAR}", f"{name} {bed}")
    edit(root, "real_test.txt", image("real", "cow", "test", 1), image("real", "cow", "test", 0))
    first = line_of(root, "real_test.txt", "real/cow/")
    wanted = rf"real_test\.txt' names 'real/cow/real_test_0\.jpg' twice, in lines {first} and {first + 1}: {HOW}"
    refused(wanted, root)


@pytest.mark.parametrize("partial", [False, True])
def test_an_image_of_two_lists_is_refused(root, partial):
    edit(root, "sketch_test.txt", image("sketch", "cow", "test", 1), image("sketch", "cow", "train", 3))
    folder = rf"{root}/domainnet"
    wanted = rf"both '{folder}/sketch_train\.txt' and '{folder}/sketch_test\.txt' name 'sketch/cow/sketch_train_3\.jpg'"
    refused(rf"^{wanted}: {HOW}$", root, DATASET__ALLOW_PARTIAL=partial)


@pytest.mark.parametrize("domain", ["sketch", "clipart"])
def test_a_domain_without_test_images_is_refused_of_a_partial_copy_too(root, domain):
    (root / "domainnet" / f"{domain}_test.txt").write_text("")
    refused(rf"^domain '{domain}' has no test image: {HOW}$", root, DATASET__ALLOW_PARTIAL=True)


def test_a_class_without_training_images_is_refused_of_a_partial_copy_too(root):
    drop_class(root, "sketch_train.txt", "truck")
    refused("1 of 40 classes have no training image in '.*': truck", root, DATASET__ALLOW_PARTIAL=True)


def lose_images(root):
    folder = root / "domainnet" / "painting"
    for name in ("truck", "bed"):
        (folder / name).unlink()
    (folder / "bed").mkdir()
    (root / "domainnet" / image("painting", "bed", "test", 0)).touch()


# A change to the copy, the problem, and how many test images a partial copy has.
PARTIAL = {
    "images": (
        lose_images,
        r"3 images that '.*painting_test\.txt' lists are missing, first '.*painting/bed/painting_test_1\.jpg'",
        317,
    ),
    "class": (
        lambda root: drop_class(root, "clipart_test.txt", "bear"),
        r"clipart_test\.txt' has no image of 1 of the 40 classes \(bear\)",
        318,
    ),
    "count": (
        lambda root: edit(root, "clipart_test.txt", f"{image('clipart', 'bear', 'test', 0)} {BEAR}\n", ""),
        r"clipart_test\.txt' has 79 images of the 40 classes, expected 80",
        319,
    ),
}


@pytest.mark.parametrize(("change", "problem", "left"), PARTIAL.values(), ids=PARTIAL)
def test_a_partial_copy_is_refused_or_taken_with_a_warning(root, caplog, change, problem, left):
    change(root)
    refused(f"{problem}: {HOW}; DATASET.ALLOW_PARTIAL True", root)
    assert len(build(root, DATASET__ALLOW_PARTIAL=True).test) == left
    assert re.search(f"{problem}: taken as it is", caplog.text)


def test_a_missing_list_or_root_and_unknown_domains_are_named(root):
    refused(rf"gone' does not exist: give the folder that holds domainnet/ .*; {HOW}", root / "gone")
    refused("'quickdraw'.*known: clipart, painting, real, sketch", root, DATASET__TARGET_DOMAINS=["quickdraw"])
    (root / "domainnet" / "sketch_test.txt").unlink()
    refused(rf"cannot read '.*sketch_test\.txt': .*; {HOW}", root)
