from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import replace

import pytest

from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageItem
from lare_dassl.datasets.base.split_file import path_names, reached_ratio, split_content, write_split
from lare_dassl.errors import InputError
from tests.datasets.made import made_dataset
from tests.helpers import make_cfg, make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_image


def folder_split(root, seed=3, **keys):
    cfg = make_cfg(
        **{"DATASET__NAME": "DomainFolders", "DATASET__ROOT": root, "SEED": seed, "DATASET__NUM_SHOTS": 4},
        **{"DATASET__SOURCE_DOMAINS": ["photo"], "DATASET__TARGET_DOMAINS": ["neon"], "DATASET__LONG_TAIL__RATIO": 2},
        **keys,
    )
    return open_dataset(cfg), cfg


def test_a_split_file_says_what_was_split_and_how(tmp_path):
    root = make_domain_tree(tmp_path / "data", ["photo", "neon"], ["cat", "dog"], per_class=8)
    dataset, cfg = folder_split(root)
    path = write_split(tmp_path / "run", dataset, cfg)
    assert path == tmp_path / "run" / "split.json"
    content = json.loads(path.read_text())
    assert content == split_content(dataset, cfg)
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


def test_an_image_that_is_not_below_the_root_is_named_whole(tmp_path):
    items = [ImageItem(f"{tmp_path}/image", 0, 0)]
    assert path_names(items, str(tmp_path)) == ["image"]
    assert path_names(items, f"{tmp_path}/data") == [f"{tmp_path}/image"]
    assert path_names(items, f"{tmp_path}/data/..") == ["image"]


def test_names_that_are_no_utf8_can_be_written(tmp_path):
    dataset = replace(made_dataset([(0, 0)]), train=[ImageItem("/data/caf\udce9.png", 0, 0)])
    path = write_split(tmp_path / "run", dataset, make_cfg())
    assert json.loads(path.read_text(encoding="utf-8"))["train"] == ["caf\udce9.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file/split\.json"):
        write_split(tmp_path / "file", made_dataset([(0, 0)]), make_cfg())


def test_the_reached_ratio_is_that_of_the_images():
    assert reached_ratio(made_dataset([(0, 0)] * 6 + [(1, 0)] * 4 + [(2, 0)] * 4).train) == 1.5


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
        kept[form] = split_content(open_dataset(cfg), cfg)
    assert kept["NFC"] == kept["NFD"]
