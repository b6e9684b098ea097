from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from lare_dassl.datasets import cub_painting
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.split_file import path_names
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

NAMES = ["Black_footed_Albatross", "Laysan_Albatross", "Red_winged_Blackbird"]
FIRST_NAMES = ["Black", "red", "Blue", "white", "Grey", "brown", "Gold", "pink", "Pale", "dark"]
SECOND_NAMES = ["Albatross", *(f"Bird{letter}" for letter in "ABCDEFGHIJKLMNOPQRS")]
SMALL = {"classes": 3, "photos": 24, "training photos": 15, "test photos": 9, "paintings": 6}


def write_photos(root: Path, names: list[str], per_class: list[int], train: list[int]) -> None:
    """The official text files and one-pixel images: of class c, per_class[c] photos, train[c] of them for training."""
    folder, pixel = root / "CUB_200_2011", one_pixel(root)
    rows = [
        (f"{label + 1:03}.{name}", label, number, number < train[label])
        for label, name in enumerate(names)
        for number in range(per_class[label])
    ]
    for name, label, number, _ in rows:
        if number == 0:
            (folder / "images" / name).mkdir(parents=True)
        (folder / "images" / name / f"{label}_{number}.jpg").hardlink_to(pixel)
    lists = {
        "images.txt": [f"{name}/{label}_{number}.jpg" for name, label, number, _ in rows],
        "image_class_labels.txt": [str(label + 1) for _, label, _, _ in rows],
        "train_test_split.txt": [str(int(in_train)) for *_, in_train in rows],
        "classes.txt": [f"{label + 1:03}.{name}" for label, name in enumerate(names)],
    }
    for file, values in lists.items():
        (folder / file).write_text("".join(f"{place} {value}\n" for place, value in enumerate(values, start=1)))


def write_paintings(root: Path, folders: list[str], per_class: list[int]) -> None:
    pixel = one_pixel(root)
    for name, count in zip(folders, per_class, strict=True):
        folder = root / "CUB-200-Painting" / name
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}.jpg").hardlink_to(pixel)


def one_pixel(root: Path) -> Path:
    """A one-pixel image, to be linked to under many names."""
    path = root / "pixel.jpg"
    Image.new("RGB", (1, 1)).save(path)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(cub_painting, "COUNTS", SMALL)
    write_photos(tmp_path, NAMES, per_class=[8, 8, 8], train=[5, 5, 5])
    # Numbers and capitals that differ from the photos': only the names count.
    folders = ["001.Red_Winged_blackbird", "002.Black_footed_Albatross", "003.laysan_albatross"]
    write_paintings(tmp_path, folders, [3, 1, 2])
    return tmp_path


def build(root, **keys):
    return open_dataset(make_cfg(DATASET__NAME="CUBPainting", DATASET__ROOT=root, SEED=1, **keys))


def refused(message, root, **keys):
    with pytest.raises(InputError, match=message):
        build(root, **keys)


def number_of(item):
    return int(Path(item.path).stem.split("_")[1])


def counts(items):
    return Counter((item.domain, item.label) for item in items)


def test_photos_train_in_the_official_split_and_photos_and_paintings_test(root):
    dataset = build(root, DATASET__VAL_FRACTION=0.2)
    assert list(dataset.domain_names) == ["photo", "painting"]
    assert dataset.classnames == NAMES
    assert dataset.prompt_names == ("Black footed Albatross", "Laysan Albatross", "Red winged Blackbird")
    assert counts(dataset.train) == {(0, 0): 4, (0, 1): 4, (0, 2): 4}
    assert counts(dataset.val) == {(0, 0): 1, (0, 1): 1, (0, 2): 1}
    assert counts(dataset.test) == {(0, 0): 3, (0, 1): 3, (0, 2): 3, (1, 0): 1, (1, 1): 2, (1, 2): 3}
    assert max(map(number_of, [*dataset.train, *dataset.val])) < 5
    assert min(number_of(item) for item in dataset.test if item.domain == 0) >= 5


def test_a_val_share_of_zero_trains_on_all_official_training_photos_and_shots_on_some(root):
    assert build(root, DATASET__VAL_FRACTION=0.0).sizes() == {"train": 15, "val": 0, "test": 15}
    assert len(build(root, DATASET__NUM_SHOTS=2).train) == 6


def test_the_root_may_be_the_photo_folder_and_the_images_are_named_alike(root):
    datasets = [build(root), build(root / "CUB_200_2011")]
    names = [path_names(dataset.test, dataset.root) for dataset in datasets]
    assert names[0] == names[1]
    assert (names[0][0], names[0][-1]) == (
        "CUB_200_2011/images/001.Black_footed_Albatross/0_5.jpg",
        "CUB-200-Painting/001.Red_Winged_blackbird/2.jpg",
    )
    shutil.move(root / "CUB-200-Painting", root / "CUB_200_2011")
    dataset = build(root / "CUB_200_2011")
    assert (len(dataset.test), dataset.root) == (15, root)


def test_without_painting_as_a_target_no_painting_is_needed(root):
    shutil.rmtree(root / "CUB-200-Painting")
    assert len(build(root, DATASET__SOURCE_DOMAINS=["photo"]).test) == 9
    refused(r"no 'CUB-200-Painting/' below .* unpack .*1G327KsD93eyGTjMmByuVy9sk4tlEOyK3", root)


def test_training_on_paintings_and_a_missing_photo_tree_are_refused(root):
    domains = {"DATASET__SOURCE_DOMAINS": ["painting"], "DATASET__TARGET_DOMAINS": ["photo"]}
    refused("paintings of CUBPainting are for testing only", root, **domains)
    refused(r"no 'CUB_200_2011/images.txt' below .* data.caltech.edu, record 65de6-vp158", root / "CUB-200-Painting")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images.txt", "24 ", "25 ", "lists other images than images.txt"),
        ("images.txt", "2 001.", "001.", r"images\.txt' line 2 is not '<new number> <value>'"),
        (
            "images.txt",
            "Albatross/0_5",
            "Albatross/0_2",
            r"names '001.*/0_2\.jpg' twice, in lines 3 and 6: get CUB",
        ),
        ("classes.txt", "2 002", "3 002", r"classes\.txt' line 3 is not '<new number> <value>'"),
        ("image_class_labels.txt", "24 3", "24 7", "names class 7, which classes.txt lacks"),
        ("train_test_split.txt", "4 1\n", "4 yes\n", "split.txt' gives image 4 'yes', which is not 0 or 1: get CUB"),
        ("train_test_split.txt", "4 1\n", "4 01\n", "split.txt' gives image 4 '01', which is not 0 or 1: get CUB"),
        ("images.txt", "\n2 ", "\n2 ../", r"gives image 2 '\.\./001.*', which is not a path below images/: get CUB"),
        ("images.txt", "\n2 ", "\n2 /", "gives image 2 '/001.*', which is not a path below"),
        ("images.txt", "\n2 001.", "\n2 C:001.", "gives image 2 'C:001.*', which is not a path below"),
        ("images.txt", "\n2 001.", "\n2 ..\\001.", "gives image 2 '.*001.*', which is not a path below"),
        ("images.txt", "Albatross/0_1", "Albatross/./0_1", "gives image 2 '.*', which is not a path below"),
        ("classes.txt", "Laysan_", "black-footed ", "gives classes 1 and 2 one name, 'black-footed Albatross': get"),
    ],
)
def test_damaged_lists_are_refused_of_a_partial_copy_too(root, file, old, new, message):
    path = root / "CUB_200_2011" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    for partial in (False, True):
        refused(message, root, DATASET__ALLOW_PARTIAL=partial)


def removed(*patterns):
    def remove(root):
        for path in (path for pattern in patterns for path in list(root.glob(pattern))):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def renamed(old, new):
    return lambda root: shutil.move(root / old, root / new)


def one_to_test(root):
    path = root / "CUB_200_2011" / "train_test_split.txt"
    path.write_text(path.read_text().replace("1 1\n", "1 0\n", 1))


LAYSAN = "CUB-200-Painting/003.laysan_albatross"
NO_TEST = "has no test image: `python tools/prepare_data.py cub "
# A change to the copy, whether a partial one is allowed, and the refusal.
COPIES = {
    "photo missing": (
        removed("*/images/*/0_3.jpg"), False, r"1 of 24 photos are missing, first '.*0_3\.jpg': get CUB_.* anew",
    ),
    "no list": (removed("*/classes.txt"), True, r"cannot read '.*classes\.txt'"),
    "other split": (one_to_test, False, "has 14 training photos, expected 15: get CUB_200_2011.tgz"),
    "painting missing": (removed(f"{LAYSAN}/1.jpg"), False, "Painting' has 5 paintings, expected 6: get the archive"),
    "painting class": (
        renamed(LAYSAN, "CUB-200-Painting/003.Sooty_Albatross"), False,
        r"double: 003\.Sooty_Albatross; missing: Laysan_Albatross; get the archive",
    ),
    "further class": (
        lambda root: (root / "CUB-200-Painting" / "004.Sooty_Albatross").mkdir(), True,
        r"unknown or double: 004\.Sooty_Albatross; missing: none; get the archive",
    ),
    "class without photos": (
        removed("*/images/002*"), True, "1 of 3 classes have no training image in '.*': Laysan_Albatross",
    ),
    "no test photo": (removed("*/images/*/*_[5-7].jpg"), True, f"^domain 'photo' {NO_TEST}"),
    "no painting": (removed("CUB-200-Painting/*"), True, f"^domain 'painting' {NO_TEST}"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "partial", "message"), COPIES.values(), ids=COPIES)
def test_copies_that_are_not_the_published_one_are_refused(root, change, partial, message):
    change(root)
    refused(message, root, DATASET__ALLOW_PARTIAL=partial)


def test_a_partial_copy_is_taken_where_it_is_allowed(root, caplog):
    removed("*/images/001*/0_[07].jpg", LAYSAN)(root)
    dataset = build(root, DATASET__ALLOW_PARTIAL=True, DATASET__VAL_FRACTION=0.0)
    assert counts(dataset.train) == {(0, 0): 4, (0, 1): 5, (0, 2): 5}
    assert counts(dataset.test) == {(0, 0): 2, (0, 1): 3, (0, 2): 3, (1, 0): 1, (1, 2): 3}
    for warning in ("2 of 24 photos are missing", "missing: Laysan_Albatross", "has 4 paintings, expected 6"):
        assert warning in caplog.text


def test_a_copy_of_the_published_size_passes(tmp_path):
    names = [f"{first}_footed_{second}" for first in FIRST_NAMES for second in SECOND_NAMES]
    write_photos(tmp_path, names, per_class=[59] * 188 + [58] * 12, train=[30] * 194 + [29] * 6)
    # The paintings are numbered the other way round, and named in other capitals and with spaces and hyphens.
    folders = [f"{200 - place:03}.{name.title().replace('_', ' -_'[place % 3])}" for place, name in enumerate(names)]
    write_paintings(tmp_path, folders, [16] * 47 + [15] * 153)
    dataset = build(tmp_path, DATASET__VAL_FRACTION=0.0)
    photos, paintings = ([item for item in dataset.test if item.domain == domain] for domain in (0, 1))
    assert (len(dataset.train), len(photos), len(paintings)) == (5_994, 5_794, 3_047)
    assert dataset.classnames == names
    assert Counter(item.label for item in paintings) == {label: 16 if label < 47 else 15 for label in range(200)}
    for item in paintings:
        folder = Path(item.path).parent.name
        assert folder.startswith(f"{200 - item.label:03}.")
    assert dataset.prompt_names[0] == "Black footed Albatross"
