"""DATASET.BAD_IMAGES: all bad images are told of at once, or left out, counted, and the same for every trainer."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial

import pytest

from lare_dassl import vlm
from lare_dassl.commands.extract import extract
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.encoding.build import build_embeddings, build_encoder
from lare_dassl.encoding.shards import encode_shard
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.errors import UnreadableError, exit_code
from lare_dassl.report.inside.run import open_run
from lare_dassl.report.page import Options, write_report
from lare_dassl.results.record import read_record
from tests.dirty_images.making import END_OF_JPEG, cut_jpeg
from tests.helpers import extract_request, forget_plugins, make_cfg, make_domain_tree, run_train, write_tiny_model
from tools import benchmark as benchmark_tool

DOMAINS = ("--source-domains", "photo", "--target-domains", "sketch")
SKIP = ("DATASET.BAD_IMAGES", "skip")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Ten images of each of two classes in two domains, a tiny model, and the split of a clean run."""
    folder = tmp_path_factory.mktemp("clean")
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    write_tiny_model(folder / "model")
    assert train(folder, "ZeroShot") == 0
    return folder


def keys(folder):
    return (
        *("DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"),
        *("DATALOADER.NUM_WORKERS", 0, "EMBEDDINGS.CACHE_DIR", folder / "cache", "OPTIM.MAX_EPOCH", 2),
    )


def flags(folder):
    return ("--root", folder / "images", "--backbone", f"local-dir:{folder / 'model'}")


def train(folder, trainer, *settings, run=""):
    output = folder / "out" / (run or trainer)
    words = ("--trainer", trainer, "--seed", 0, *flags(folder), *DOMAINS, "--output-dir", output)
    return run_train(*words, *keys(folder), *settings)


def split_of(folder, run):
    return json.loads((folder / "out" / run / "split.json").read_text())


def record_of(folder, run):
    return read_record(folder / "out" / run / "record.json")


@pytest.fixture
def folder(clean, tmp_path):
    """A copy of the clean folder, without its run."""
    copy = shutil.copytree(clean, tmp_path / "world")
    shutil.rmtree(copy / "out")
    shutil.rmtree(copy / "cache")
    return copy


@pytest.fixture
def spoilt(folder, clean):
    """Seven bad images: two of train, one of val, four of test, two of them of the target domain."""
    split = split_of(clean, "ZeroShot")
    in_domain = [path for path in split["test"] if path.startswith("photo")]
    bad = {
        split["train"][0]: lambda path: path.write_bytes(b""),
        split["train"][1]: lambda path: path.symlink_to("gone"),
        split["val"][0]: lambda path: path.write_bytes(cut_jpeg(0.5, END_OF_JPEG)),
        in_domain[0]: lambda path: path.write_bytes(b"no image"),
        in_domain[1]: os.mkfifo,
        "sketch/cat/3.png": lambda path: path.write_bytes(path.name.encode()),
        "sketch/dog/4.png": lambda path: path.symlink_to(path.name),
    }
    for name, spoil in bad.items():
        (folder / "images" / name).unlink()
        spoil(folder / "images" / name)
    return folder, list(bad)


def test_all_bad_images_of_all_splits_are_in_one_report_and_in_a_file(spoilt, capsys):
    folder, bad = spoilt
    assert train(folder, "FineTune") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    listed = folder / "out" / "FineTune" / "unreadable_images.txt"
    assert line.startswith("error: 7 of 40 images cannot be read: ")
    assert line.count(f"{folder}/images") == 5
    assert f"; and 2 more (all of them: {listed}). Mend or remove them" in line
    assert line.endswith("and kept; DATASET.BAD_IMAGES skip leaves them out")
    told = dict(row.split("\t") for row in listed.read_text().splitlines())
    assert sorted(told) == sorted(f"{folder}/images/{name}" for name in bad)
    assert [told[f"{folder}/images/{name}"] for name in bad] == [
        *("cannot identify image file", "a link to nothing", "a part of the picture is missing"),
        *("cannot identify image file", "no regular file", "cannot identify image file"),
        "Too many levels of symbolic links",
    ]
    assert not (folder / "out" / "FineTune" / "record.json").exists()


def test_few_bad_images_are_all_in_the_message_and_in_no_file(folder, capsys):
    (folder / "images" / "sketch" / "cat" / "3.png").write_bytes(b"")
    assert train(folder, "ZeroShot") == 2
    path = f"{folder}/images/sketch/cat/3.png"
    assert f"1 of 40 images cannot be read: {path} (cannot identify image file). Mend" in capsys.readouterr().err
    assert not (folder / "out" / "ZeroShot" / "unreadable_images.txt").exists()


def test_skip_leaves_them_out_tells_and_counts_them_the_same_for_every_trainer(spoilt, clean, capsys):
    folder, bad = spoilt
    assert train(folder, "FineTune", *SKIP) == 0
    output = capsys.readouterr().out
    assert "DATASET.BAD_IMAGES skip: 2 of 14 training images cannot be read and are left out: " in output
    assert (
        "skip: 1 of 2 validation images cannot be read and are left out; what is measured on val is measured on the "
        "other 1: "
    ) in output
    assert (
        "skip: 4 of 24 test images cannot be read and are left out; what is measured on test is measured on" in output
    )
    assert "measured on the test split without 4 images that cannot be read" in output
    record, split = record_of(folder, "FineTune"), split_of(folder, "FineTune")
    assert record.skipped == {"train": 2, "val": 1, "test": 4}
    assert record.samples == {"train": 12, "val": 1, "test": 20}
    whole = split_of(clean, "ZeroShot")
    for name in ("train", "val", "test"):
        assert split[name] == [path for path in whole[name] if path not in bad]
        assert sorted(split["skipped"][name]) == sorted(path for path in whole[name] if path in bad)
    assert train(folder, "TipAdapterF", *SKIP) == 0
    assert record_of(folder, "TipAdapterF").split_sha256 == record.split_sha256


def test_images_that_are_never_cached_do_not_make_later_runs_load_the_model(spoilt, capsys, monkeypatch):
    folder, _ = spoilt
    assert train(folder, "ZeroShot", *SKIP) == 0
    assert "embeddings: 33 images, 33 decoded now" in capsys.readouterr().out
    monkeypatch.setattr(vlm, "load", lambda *_: pytest.fail("the model was loaded again"))
    assert train(folder, "FineTune", *SKIP) == 0
    assert "embeddings: 33 images, 0 decoded now" in capsys.readouterr().out


def test_without_bad_images_skip_changes_nothing(folder, clean):
    assert train(folder, "ZeroShot", *SKIP) == 0
    assert (folder / "out/ZeroShot/split.json").read_bytes() == (clean / "out/ZeroShot/split.json").read_bytes()
    assert record_of(folder, "ZeroShot").skipped == {"train": 0, "val": 0, "test": 0}


@pytest.mark.parametrize("settings", [("DATASET.NUM_SHOTS", 5), ("DATASET.LONG_TAIL.RATIO", 3)])
def test_what_was_drawn_and_is_bad_is_dropped_and_nothing_else_of_the_draw_changes(folder, tmp_path, settings):
    assert train(folder, "ZeroShot", *settings) == 0
    whole = split_of(folder, "ZeroShot")["train"]
    bad = [next(path for path in whole if path.startswith(f"photo/{name}/")) for name in ("cat", "dog")]
    for path in bad:
        (folder / "images" / path).write_bytes(b"")
    assert train(folder, "ZeroShot", *settings, *SKIP, run="skipped") == 0
    split = split_of(folder, "skipped")
    assert split["train"] == [path for path in whole if path not in bad]
    assert sorted(split["skipped"]["train"]) == sorted(bad)
    moved = shutil.copytree(folder, tmp_path / "moved", ignore=shutil.ignore_patterns("out"))
    assert train(moved, "FineTune", *settings, *SKIP) == 0
    assert record_of(moved, "FineTune").split_sha256 == record_of(folder, "skipped").split_sha256


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b""), os.mkfifo], ids=["no byte", "pipe"])
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("photo/dog/*", "none of the training images of class 'dog' can be read: mend one of them"),
        ("sketch/*/*", "can be read: mend one of them, or take the domain out of the run"),
    ],
)
def test_a_class_or_domain_of_which_nothing_is_left_is_refused(folder, capsys, pattern, says, spoil):
    for path in sorted((folder / "images").glob(pattern)):
        path.unlink()
        spoil(path)
    assert train(folder, "ZeroShot", *SKIP) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_extract_goes_by_the_same_policy(spoilt, capsys, monkeypatch):
    folder, _ = spoilt
    file = folder / "file" / "data.safetensors"
    words = ["--output", file, "--seed", 0, *flags(folder), *DOMAINS, "--plugin", "math"]
    for policy, code in (("error", 2), ("skip", 0)):
        request = extract_request(*words, *keys(folder), "DATASET.BAD_IMAGES", policy)
        assert exit_code(partial(extract, request)) == code
        streams = capsys.readouterr()
        if policy == "error":
            assert f"(all of them: {folder}/file/unreadable_images.txt)" in streams.err
            assert not file.exists()
    assert "left out, cannot be read" in streams.out
    assert {name: len(rows) for name, rows in read_embedding_file(file).splits().items()} == {
        "train": 12, "val": 1, "test": 20,
    }  # fmt: skip


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_images_that_others_encode_ahead_go_by_the_same_policy(spoilt, policy):
    """As workers of a cluster do."""
    folder, _ = spoilt
    domains = {"DATASET__SOURCE_DOMAINS": ["photo"], "DATASET__TARGET_DOMAINS": ["sketch"]}
    cfg = make_cfg(
        **{"DATASET__NAME": "DomainFolders", "DATASET__ROOT": folder / "images", "DATASET__BAD_IMAGES": policy},
        **{"MODEL__BACKBONE__NAME": f"local-dir:{folder / 'model'}", "VLM__ALLOW_RANDOM": True, **domains},
        **{"VLM__PRECISION": "fp32", "EMBEDDINGS__CACHE_DIR": folder / "cache", "OUTPUT_DIR": str(folder / "out")},
    )
    dataset = open_dataset(cfg)

    def encode_ahead(cfg, paths):
        return encode_shard(json.dumps(cfg), 1, build_encoder(cfg).missing_images(paths))

    def encode():
        return build_embeddings(cfg, dataset, describe_domains=False, encode_ahead=encode_ahead)

    if policy == "error":
        with pytest.raises(UnreadableError, match=r"^7 of 40 images cannot be read: .*unreadable_images\.txt"):
            encode()
        return
    encoded = encode()
    assert count_skipped(encoded.dataset) == {"train": 2, "val": 1, "test": 4}
    assert (encoded.report.images, encoded.report.decoded) == (33, 33)


def run_benchmark(folder, monkeypatch, *settings):
    words = ["benchmark.py", "--trainers", "ZeroShot", "FineTune", "--seeds", 2, "--shots", 4, *flags(folder)]
    words += ["--jobs", 1, "--output-dir", folder / "bench", *keys(folder)]
    words += ["DATASET.SOURCE_DOMAINS", "['photo']", "DATASET.TARGET_DOMAINS", "['sketch']", *settings]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    return benchmark_tool.main()


def test_a_benchmark_goes_by_the_same_policy_and_says_so_with_its_table(spoilt, capsys, monkeypatch):
    folder, _ = spoilt
    assert run_benchmark(folder, monkeypatch) == 2
    assert capsys.readouterr().err.count("images cannot be read: ") >= 4
    assert run_benchmark(folder, monkeypatch, *SKIP) == 0
    note = "images that cannot be read are left out (DATASET.BAD_IMAGES skip): "
    assert f"note: images, shots 4, imbalance 1: {note}" in capsys.readouterr().err
    assert note in (folder / "bench" / "report.html").read_text()
    hashes = {seed: set() for seed in (0, 1)}
    for path in (folder / "bench").rglob("record.json"):
        record = read_record(path)
        hashes[record.seed].add(record.split_sha256)
        assert record.skipped["test"] == 4
    assert [len(of_seed) for of_seed in hashes.values()] == [1, 1]


def test_a_look_inside_a_run_sees_what_the_run_saw(spoilt, caplog):
    folder, bad = spoilt
    assert train(folder, "LARE", *SKIP, "TRAINER.LARE.EPOCHS", 2) == 0
    # An image that has been mended since was not in the run.
    path = folder / "images" / bad[0]
    path.write_bytes((folder / "images" / "sketch" / "cat" / "0.png").read_bytes())
    listed = (folder / "out" / "LARE" / "unreadable_images.txt").read_bytes()
    caplog.clear()
    inside = open_run(folder / "out" / "LARE")
    assert caplog.messages == []
    assert (folder / "out" / "LARE" / "unreadable_images.txt").read_bytes() == listed
    assert inside.train.names == split_of(folder, "LARE")["train"]
    assert len(inside.embeddings.test) == len(inside.test.names) == 20
    page = write_report(Options(folder / "out", folder / "report.html")).read_text()
    assert "cannot be looked into" not in page


PLUGIN = """
from lare_dassl.host.door import TRAINER_REGISTRY


@TRAINER_REGISTRY.register()
class ReadsImages:
    def __init__(self, cfg):
        from types import SimpleNamespace
        from lare_dassl.host.door import build_dataset
        self.dm = SimpleNamespace(dataset=build_dataset(cfg))
"""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (SKIP, "DATASET.BAD_IMAGES skip: ReadsImages reads the images itself, so none can be left out"),
        ((), "images are links to nothing or no files, the first is "),
    ],
)
def test_trainers_of_plugins_refuse_in_one_line(spoilt, capsys, monkeypatch, settings, says):
    folder, _ = spoilt
    forget_plugins(monkeypatch, "reads_images")
    (folder / "reads_images.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    words = ("--plugin", "reads_images", "--trainer", "ReadsImages", "--seed", 0, *flags(folder), *DOMAINS)
    assert run_train(*words, "--output-dir", folder / "out" / "plugin", *keys(folder), *settings) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
