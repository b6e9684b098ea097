from __future__ import annotations

import hashlib
import itertools
import json
import unicodedata
from collections import Counter
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.datasets.base.splits import (
    ItemSplit,
    check_split_applied,
    class_order,
    image_keys,
    profile_counts,
    reached_ratio,
    split_by_hash,
    split_content,
    split_items,
    stable_fraction,
    training_items,
    training_rows,
    write_split,
)
from lare_dassl.errors import InputError
from lare_dassl.host.door import Datum, build_dataset
from tests.helpers import (
    make_cfg,
    make_domain_tree,
    run_train,
    shifted_embeddings,
    write_embeddings,
    write_image,
)

NAMES = ["cat", "dog", "owl"]
TEN = [f"class{label}" for label in range(10)]


@pytest.fixture
def labels():
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [9, 12, 20]))


@pytest.fixture
def ten():
    """Labels of ten classes of 40 to 58 rows, mixed."""
    return np.random.default_rng(1).permutation(np.repeat(np.arange(10), np.arange(40, 60, 2)))


@pytest.fixture
def make_items(tmp_path):
    """Gives a Datum for each pair (label, domain)."""
    (tmp_path / "image").touch()
    return lambda pairs: [Datum(str(tmp_path / "image"), label, domain, NAMES[label]) for label, domain in pairs]


def few(labels, shots, seed, names=NAMES):
    return training_rows(labels, SplitSettings(shots), seed, names)


def test_few_shots_take_as_many_of_each_class_in_order(labels):
    rows = few(labels, 5, seed=1)
    assert np.bincount(labels[rows]).tolist() == [5, 5, 5]
    assert (np.diff(rows) > 0).all()


def test_few_shots_are_nested_and_depend_on_the_seed(labels):
    subsets = [set(few(labels, shots, 3).tolist()) for shots in (1, 2, 4, 8)]
    assert all(small < large for small, large in itertools.pairwise(subsets))
    assert set(few(labels, 4, 3).tolist()) == subsets[2]
    assert set(few(labels, 4, 4).tolist()) != subsets[2]


def test_few_shots_of_a_class_do_not_depend_on_other_classes():
    alone = few(np.zeros(30, dtype=np.int64), 6, 2, NAMES[:1])
    among = few(np.repeat([0, 1], [30, 8]), 6, 2, NAMES[:2])
    assert among[:6].tolist() == alone.tolist()


def test_few_shots_are_the_same_for_ever():
    assert few(np.repeat([0, 1], 10), 3, 0, NAMES[:2]).tolist() == [2, 4, 6, 11, 13, 19]


@pytest.mark.parametrize("settings", [SplitSettings(20), SplitSettings(ratio=5.0)])
def test_without_a_seed_the_rows_differ_from_call_to_call(settings):
    labels = np.repeat([0, 1], 1000)
    first, second = (training_rows(labels, settings, -1, NAMES[:2]) for _ in range(2))
    assert first.tolist() != second.tolist()


def test_all_shots_without_a_long_tail_keep_all_rows(labels):
    assert few(labels, -1, 0).tolist() == list(range(41))


@pytest.mark.parametrize("shots", [0, -2])
def test_shots_out_of_range_are_refused(shots):
    with pytest.raises(InputError, match=rf"DATASET.NUM_SHOTS is {shots}: give the images per class"):
        SplitSettings(shots)


def test_more_shots_than_a_class_has_are_refused_by_name(labels):
    with pytest.raises(InputError, match=r"DATASET.NUM_SHOTS is 10, but class 'cat' has 9 training images"):
        few(labels, 10, 0)


def test_training_items_are_those_of_the_chosen_rows(labels, make_items):
    items = make_items((int(label), 0) for label in labels)
    assert training_items(items, make_cfg()) == items
    cfg = make_cfg(SEED=5, DATASET__NUM_SHOTS=8, DATASET__LONG_TAIL__RATIO=4, DATASET__LONG_TAIL__PROFILE="step")
    expected = training_rows(labels, SplitSettings(8, 4.0, "step"), 5, NAMES)
    assert training_items(items, cfg) == [items[row] for row in expected]
    assert sorted(Counter(labels[expected].tolist()).values()) == [2, 8, 8]


def rounded_half_up(size: Fraction) -> int:
    return int(size + Fraction(1, 2))


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("largest", [1, 2, 16, 37, 500])
@pytest.mark.parametrize("ratio", [1, 2, 3, 10, 50, 100])
def test_profiles_agree_with_exact_arithmetic(classes, largest, ratio):
    step = profile_counts(largest, classes, SplitSettings(ratio=ratio, profile="step"))
    head = (classes + 1) // 2
    tail = rounded_half_up(Fraction(largest, ratio))
    assert step == [largest] * head + [tail] * (classes - head)

    # n_c rounds up from k to k + 1 at k + 1/2: compare whole powers, which need no root.
    exp = profile_counts(largest, classes, SplitSettings(ratio=ratio))
    power = max(classes - 1, 1)
    for rank, count in enumerate(exp):
        exact = Fraction(largest**power, ratio**rank)
        assert max(Fraction(2 * count - 1, 2), 0) ** power <= exact < Fraction(2 * count + 1, 2) ** power
    assert exp[0] == largest


def test_profiles_are_those_of_the_papers():
    assert profile_counts(500, 10, SplitSettings(ratio=100)) == [500, 300, 180, 108, 65, 39, 23, 14, 8, 5]
    assert profile_counts(100, 5, SplitSettings(ratio=10, profile="step")) == [100, 100, 100, 10, 10]
    # In floating point 48 · 64^(−5/6) is 1.4999999999999998.
    assert profile_counts(48, 7, SplitSettings(ratio=64)) == [48, 24, 12, 6, 3, 2, 1]


@pytest.mark.parametrize("profile", ["exp", "step"])
@pytest.mark.parametrize(("shots", "ratio"), [(-1, 10), (-1, 40), (30, 8), (5, 10), (40, 1)])
def test_a_long_tail_has_its_profile_whatever_the_datasets_own_imbalance(ten, profile, shots, ratio):
    settings = SplitSettings(shots, ratio, profile)
    for seed in range(10):
        rows = training_rows(ten, settings, seed, TEN)
        counts = np.bincount(ten[rows], minlength=10)
        largest = 40 if shots == -1 else shots
        assert counts[class_order(10, seed)].tolist() == profile_counts(largest, 10, settings)
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_long_tails_nest_in_ratio_and_in_shots(ten, profile):
    for seed in range(10):
        by_ratio = [training_rows(ten, SplitSettings(-1, r, profile, 1), seed, TEN) for r in (1, 2, 10, 50, 100)]
        by_shots = [training_rows(ten, SplitSettings(k, 10, profile, 1), seed, TEN) for k in (40, 16, 8, 4, 1)]
        for larger, smaller in [*itertools.pairwise(by_ratio), *itertools.pairwise(by_shots)]:
            assert set(smaller.tolist()) <= set(larger.tolist())
        assert len(by_ratio[0]) > len(by_ratio[2]) > len(by_shots[2])


def test_a_long_tail_lies_within_the_few_shots_it_starts_from(ten):
    assert set(training_rows(ten, SplitSettings(16, 8), 3, TEN)) < set(training_rows(ten, SplitSettings(16), 3, TEN))


def test_the_order_of_the_classes_follows_from_the_seed_alone(ten):
    orders = set()
    for seed in range(20):
        found = [
            np.bincount(labels[training_rows(labels, SplitSettings(shots, 10.0), seed, TEN)]).argsort(kind="stable")[-1]
            for labels, shots in ((ten, -1), (ten[::-1], 10), (np.repeat(np.arange(10), 100), -1))
        ]
        assert found == [class_order(10, seed)[0]] * 3
        assert sorted(class_order(10, seed)) == list(range(10))
        orders.add(tuple(class_order(10, seed)))
    assert len(orders) == 20
    assert class_order(6, 0).tolist() == [1, 4, 5, 3, 2, 0]


def test_rows_of_a_class_in_a_long_tail_do_not_depend_on_the_order_of_others(ten):
    """Only where the rows of a class stand changes; which of them are taken does not."""
    others = np.flatnonzero(ten != 4)
    shuffled = ten.copy()
    shuffled[others] = np.random.default_rng(2).permutation(ten[others])
    settings = SplitSettings(30, 6.0)
    for seed in range(5):
        one, other = (training_rows(labels, settings, seed, TEN) for labels in (ten, shuffled))
        assert one[ten[one] == 4].tolist() == other[shuffled[other] == 4].tolist()


def test_one_class_has_no_tail():
    labels = np.zeros(12, dtype=np.int64)
    for profile in ("exp", "step"):
        assert len(training_rows(labels, SplitSettings(-1, 100, profile), 0, ["cat"])) == 12
        assert len(training_rows(labels, SplitSettings(5, 100, profile), 0, ["cat"])) == 5


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_class_left_empty_is_named_with_the_ratio_that_would_do(labels, profile):
    smallest = NAMES[class_order(3, 7)[2]]
    with pytest.raises(InputError) as error:
        training_rows(labels, SplitSettings(4, 9, profile), 7, NAMES)
    assert str(error.value) == (
        f"DATASET.LONG_TAIL.RATIO 9 with DATASET.NUM_SHOTS 4 leaves class '{smallest}' without a training image "
        "(the largest class has 4): lower DATASET.LONG_TAIL.RATIO to 8 or less, raise DATASET.NUM_SHOTS, or set "
        "DATASET.LONG_TAIL.MIN_IMAGES 1"
    )
    assert len(training_rows(labels, SplitSettings(4, 8, profile), 7, NAMES)) > 0
    with pytest.raises(InputError, match=r"NUM_SHOTS -1 leaves class .* to 18 or less, or set DATASET.LONG_TAIL.MIN"):
        training_rows(labels, SplitSettings(-1, 19, profile), 7, NAMES)


def test_a_least_size_fills_up_the_small_classes(ten):
    settings = SplitSettings(16, 100, "exp", 2)
    counts = np.bincount(ten[training_rows(ten, settings, 0, TEN)], minlength=10)
    assert counts[class_order(10, 0)].tolist() == [16, 10, 6, 3, 2, 2, 2, 2, 2, 2]


def test_a_least_size_above_the_largest_class_is_refused(labels):
    with pytest.raises(InputError, match=r"MIN_IMAGES is 5, but the largest class has 4 images: lower it to 4"):
        training_rows(labels, SplitSettings(4, 2, "exp", 5), 0, NAMES)


def test_a_long_tail_of_a_dataset_that_lacks_a_class_is_refused():
    with pytest.raises(InputError, match="class 'dog' has no training image"):
        training_rows(np.array([0, 0, 2, 2]), SplitSettings(ratio=2), 0, NAMES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ratio": 0.5}, r"RATIO is 0.5: give a finite number, at least 1"),
        ({"ratio": float("inf")}, r"RATIO is inf: give a finite"),
        ({"ratio": float("nan")}, r"RATIO is nan: give a finite"),
        ({"profile": "linear"}, r"PROFILE is 'linear': give one of exp, step"),
        ({"min_images": -1}, r"MIN_IMAGES is -1"),
    ],
)
def test_settings_out_of_range_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        SplitSettings(**keys)


def test_settings_come_from_the_config():
    assert SplitSettings.from_cfg(make_cfg()) == SplitSettings()
    keys = {"DATASET__LONG_TAIL__RATIO": 20, "DATASET__LONG_TAIL__PROFILE": "step"}
    cfg = make_cfg(DATASET__NUM_SHOTS=3, DATASET__LONG_TAIL__MIN_IMAGES=2, **keys)
    assert SplitSettings.from_cfg(cfg) == SplitSettings(3, 20.0, "step", 2)


def test_datasets_of_ours_are_taken_as_they_are(make_items):
    train = make_items([(0, 0)] * 3 + [(1, 0)])
    ours = SimpleNamespace(train_x=train, val=None, test=train[:1], domain_names=["photo"])
    cfg = make_cfg(DATASET__NUM_SHOTS=1, DATASET__LONG_TAIL__RATIO=5)
    assert split_items(ours, cfg) == ItemSplit(train, [], train[:1])
    check_split_applied(cfg, ours)


def foreign(items):
    return SimpleNamespace(train_x=items, val=items[:1], test=items[:2])


# Images of each class and domain, the settings, and the images of each class that remain.
FOREIGN = {
    "all": ({(0, 0): 5, (1, 0): 3}, SplitSettings(), [5, 3]),
    "shots ignored": ({(0, 0): 5, (1, 0): 3}, SplitSettings(2), [2, 2]),
    "shots applied": ({(0, 0): 2, (1, 0): 2}, SplitSettings(2), [2, 2]),
    "shots applied as far as a class has them": ({(0, 0): 4, (1, 0): 3}, SplitSettings(4), [4, 3]),
    "shots applied by domain": ({(0, 0): 2, (0, 1): 2, (1, 0): 2, (1, 1): 2}, SplitSettings(2), [4, 4]),
    "shots ignored in a domain": ({(0, 0): 2, (0, 1): 3, (1, 0): 2}, SplitSettings(2), [2, 2]),
    "long tail": ({(0, 0): 8, (1, 0): 9}, SplitSettings(ratio=4), [8, 2]),
    "shots ignored, long tail": ({(0, 0): 9, (1, 0): 9}, SplitSettings(6, 3), [6, 2]),
    "shots applied, long tail": ({(0, 0): 4, (1, 0): 4}, SplitSettings(4, 4), [4, 1]),
    "shots applied by domain, long tail": ({(0, 0): 4, (0, 1): 4, (1, 0): 4, (1, 1): 4}, SplitSettings(4, 4), [4, 1]),
    "few images, long tail": ({(0, 0): 4, (1, 0): 3}, SplitSettings(4, 3), [3, 1]),
}


@pytest.mark.parametrize(("groups", "settings", "remaining"), FOREIGN.values(), ids=FOREIGN)
def test_what_other_datasets_did_not_apply_is_applied_to_them(make_items, groups, settings, remaining):
    dataset = foreign(make_items(pair for pair, count in groups.items() for _ in range(count)))
    cfg = cfg_of(settings)
    split = split_items(dataset, cfg)
    assert sorted(Counter(item.label for item in split.train).values(), reverse=True) == remaining
    assert (split.val, split.test) == (dataset.val, dataset.test)
    if len(split.train) < len(dataset.train_x):
        with pytest.raises(InputError, match=r"Elsewhere knows no DATASET.(NUM_SHOTS|LONG_TAIL).*CoOp trains on all"):
            check_split_applied(cfg, dataset)
    else:
        check_split_applied(cfg, dataset)


def cfg_of(settings, **keys):
    keys = {"DATASET__NAME": "Elsewhere", "TRAINER__NAME": "CoOp", "SEED": 0} | keys
    tail = {"RATIO": settings.ratio, "PROFILE": settings.profile, "MIN_IMAGES": settings.min_images}
    tail = {f"DATASET__LONG_TAIL__{name}": value for name, value in tail.items()}
    return make_cfg(DATASET__NUM_SHOTS=settings.shots, **tail, **keys)


def folder_split(root, seed=3, **keys):
    cfg = cfg_of(SplitSettings(4, 2), DATASET__NAME="DomainFolders", DATASET__ROOT=root, SEED=seed, **keys)
    cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS = ["photo"], ["neon"]
    dataset = build_dataset(cfg)
    return dataset, split_items(dataset, cfg), cfg


def test_a_split_file_says_what_was_split_and_how(tmp_path):
    root = make_domain_tree(tmp_path / "data", ["photo", "neon"], ["cat", "dog"], per_class=8)
    dataset, split, cfg = folder_split(root)
    path = write_split(tmp_path / "run", dataset, split, cfg)
    assert path == tmp_path / "run" / "split.json"
    content = json.loads(path.read_text())
    assert content == split_content(dataset, split, cfg)
    assert list(content) == ["format", "dataset", "seed", "shots", "long_tail", "reached_ratio", "train", "val", "test"]
    assert (content["format"], content["dataset"], content["seed"], content["shots"]) == (
        "split/1", "DomainFolders", 3, 4,
    )  # fmt: skip
    assert content["long_tail"] == {"ratio": 2.0, "profile": "exp", "min_images": 0}
    assert content["reached_ratio"] == 2.0
    assert sorted(Counter(path.split("/")[1] for path in content["train"]).values()) == [2, 4]
    assert all(path.startswith("photo/") for path in content["train"] + content["val"])
    assert {path for path in content["test"] if path.startswith("neon/")} == {
        f"neon/{name}/{number}.png" for name in ("cat", "dog") for number in range(8)
    }
    assert all((root / path).is_file() for part in ("train", "val", "test") for path in content[part])


def test_a_split_file_is_the_same_wherever_the_data_is_and_whoever_trains(tmp_path, monkeypatch):
    written = []
    for place, trainer in (("one", "FineTune"), ("a/deeper/\u00fcber one", "LARE")):
        root = make_domain_tree(tmp_path / place / "data", ["photo", "neon"], ["cat", "dog"], per_class=8)
        written.append(write_split(tmp_path / trainer, *folder_split(root, TRAINER__NAME=trainer)).read_bytes())
    monkeypatch.chdir(tmp_path / "one")
    written.append(write_split(tmp_path / "relative", *folder_split("../one/data/")).read_bytes())
    assert written[0] == written[1] == written[2]
    assert b"data" not in written[0].replace(b"dataset", b"")
    other = write_split(tmp_path / "other", *folder_split(tmp_path / "one" / "data", seed=4)).read_bytes()
    assert other != written[0]


def test_every_trainer_leaves_the_same_split_file(tmp_path):
    file = write_embeddings(tmp_path / "data.safetensors", shifted_embeddings(described=("photo", "painting")))
    keys = "DATASET.NAME EmbeddingFile DATASET.NUM_SHOTS 4 DATASET.LONG_TAIL.RATIO 4 OPTIM.MAX_EPOCH 2"
    trainers = ("ZeroShot", "FineTune", "LADS", "LARE")
    for trainer in trainers:
        words = ["--trainer", trainer, "--root", file, "--seed", 2, "--output-dir", tmp_path / trainer]
        assert run_train(*words, *keys.split(), "TRAINER.LARE.EPOCHS", 2, "TRAINER.LADS.EPOCHS", 2) == 0
    written = {(tmp_path / trainer / "split.json").read_bytes() for trainer in trainers}
    assert len(written) == 1
    assert len(json.loads(written.pop())["train"]) == 4 + 3 + 2 + 1 + 1


def test_an_image_that_is_not_below_the_root_is_named_whole(tmp_path, make_items):
    items = make_items([(0, 0)])
    assert image_keys(items, str(tmp_path)) == ["image"]
    assert image_keys(items, f"{tmp_path}/data") == [f"{tmp_path}/image"]
    assert image_keys(items, f"{tmp_path}/data/..") == ["image"]


def test_names_that_are_no_utf8_can_be_written(tmp_path):
    split = ItemSplit([SimpleNamespace(impath=f"{tmp_path}/caf\udce9.png", label=0)], [], [])
    path = write_split(tmp_path / "run", None, split, make_cfg(DATASET__ROOT=tmp_path))
    assert json.loads(path.read_text(encoding="utf-8"))["train"] == ["caf\udce9.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, make_items):
    (tmp_path / "file").touch()
    items = make_items([(0, 0)])
    with pytest.raises(InputError, match=r"cannot write .*file/split\.json"):
        write_split(tmp_path / "file", None, ItemSplit(items, [], items), make_cfg())


def test_the_reached_ratio_is_that_of_the_images(make_items):
    assert reached_ratio(make_items([(0, 0)] * 6 + [(1, 0)] * 4 + [(2, 1)] * 4)) == 1.5


def test_stable_fraction_is_the_head_of_the_sha256():
    head = int(hashlib.sha256(b"photo/dog/1.jpg").hexdigest()[:13], 16) / 16**13
    assert stable_fraction("photo/dog/1.jpg") == pytest.approx(head, abs=1e-12)


def test_stable_fraction_is_uniform_and_below_one():
    values = np.array([stable_fraction(f"photo/dog/{number}.jpg") for number in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, 4, (0, 1))[0] == pytest.approx(1000, rel=0.1)


def test_stable_fraction_ignores_how_accents_are_stored():
    assert stable_fraction("caf\u00e9.jpg") == stable_fraction("cafe\u0301.jpg")


def test_split_by_hash_cuts_in_order_of_the_hash():
    keys = [f"{number}.jpg" for number in range(20)]
    split = split_by_hash(keys, val_fraction=0.1, test_fraction=0.3)
    ordered = sorted(keys, key=stable_fraction)
    assert sorted(split.test) == sorted(ordered[:6])
    assert sorted(split.val) == sorted(ordered[6:8])
    assert split.train == [key for key in keys if key in ordered[8:]]


def test_the_val_share_does_not_move_test_images():
    keys = [f"{number}.jpg" for number in range(31)]
    assert split_by_hash(keys, 0.3, 0.2).test == split_by_hash(keys, 0, 0.2).test


@pytest.mark.parametrize(("size", "parts"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 0, 2)), (10, (1, 3, 6))])
def test_split_by_hash_leaves_one_image_to_train_on(size, parts):
    split = split_by_hash([f"{number}.jpg" for number in range(size)], val_fraction=0.35, test_fraction=0.6)
    assert (len(split.train), len(split.val), len(split.test)) == parts


@pytest.mark.parametrize(
    ("val", "test", "message"),
    [(-0.1, 0.2, "VAL_FRACTION is -0.1"), (0.1, 1.0, "TEST_FRACTION is 1.0"), (0.5, 0.5, "leave no training image")],
)
def test_shares_that_make_no_sense_are_refused(val, test, message):
    with pytest.raises(InputError, match=message):
        split_by_hash(["1.jpg"], val, test)


def test_a_file_system_that_decomposes_accents_gives_the_same_images(tmp_path):
    names = [f"{letter}.png" for letter in ("a", "b", "é", "f", "z", "ö", "o", "zé")]
    kept = {}
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        for place, name in enumerate(names):
            write_image(root / "photo" / "cat" / unicodedata.normalize(form, name), seed=place)
            write_image(
                root / "photo" / "dog" / name.encode("ascii", "replace").decode().replace("?", f"x{place}"), place
            )
        cfg = make_cfg(
            DATASET__NAME="DomainFolders",
            DATASET__ROOT=root,
            DATASET__SOURCE_DOMAINS=["photo"],
            DATASET__NUM_SHOTS=3,
            SEED=4,
        )
        dataset = build_dataset(cfg)
        kept[form] = split_content(dataset, split_items(dataset, cfg), cfg)
    assert kept["NFC"] == kept["NFD"]
