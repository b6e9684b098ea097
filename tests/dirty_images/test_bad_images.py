"""DATASET.BAD_IMAGES: all bad images are refused at once, or left out, counted, and the same for every trainer."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

from lare_dassl import vlm
from lare_dassl.commands.extract import extract
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.encoding.build import build_embeddings, build_encoder
from lare_dassl.encoding.shards import encode_shard
from lare_dassl.encoding.unreadable import count_skipped
from lare_dassl.errors import UnreadableError
from lare_dassl.report.inside.run import open_run
from lare_dassl.report.page import Options, write_report
from lare_dassl.results.record import read_record
from tests.dirty_images.making import END_OF_JPEG, cut_jpeg, written
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


def train(folder, trainer, *settings, run="", plugins=()):
    output = folder / "out" / (run or trainer)
    words = ("--trainer", trainer, "--seed", 0, *flags(folder), *DOMAINS, "--output-dir", output, *plugins)
    return run_train(*words, *keys(folder), *settings)


def split_of(folder, run):
    return json.loads((folder / "out" / run / "split.json").read_text())


def record_of(folder, run):
    return read_record(folder / "out" / run / "record.json")


def last_line(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def folder(clean, tmp_path):
    """A copy of the clean folder, without its run."""
    return shutil.copytree(clean, tmp_path / "world", ignore=shutil.ignore_patterns("out", "cache"))


@pytest.fixture
def spoilt(folder, clean):
    """Seven bad images with their causes: two of train, one of val, four of test, two of them of the target domain."""
    split = split_of(clean, "ZeroShot")
    in_domain = [path for path in split["test"] if path.startswith("photo")]
    bad = {
        split["train"][0]: (written(b""), "cannot identify image file"),
        split["train"][1]: (lambda path: path.symlink_to("gone"), "a link to nothing"),
        split["val"][0]: (written(cut_jpeg(0.5, END_OF_JPEG)), "a part of the picture is missing"),
        in_domain[0]: (written(b"no image"), "cannot identify image file"),
        in_domain[1]: (os.mkfifo, "no regular file"),
        "sketch/cat/3.png": (written(b"3.png"), "cannot identify image file"),
        "sketch/dog/4.png": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    }
    for name, (spoil, _) in bad.items():
        (folder / "images" / name).unlink()
        spoil(folder / "images" / name)
    return {name: cause for name, (_, cause) in bad.items()}


def test_all_bad_images_of_all_splits_are_in_one_report_and_in_a_file(folder, spoilt, capsys):
    assert train(folder, "FineTune") == 2
    line, listed = last_line(capsys), folder / "out" / "FineTune" / "unreadable_images.txt"
    assert line.startswith("error: 7 of 40 images cannot be read: ")
    assert line.count(f"{folder}/images") == 5
    assert f"; and 2 more (all of them: {listed}). Mend or remove them" in line
    assert line.endswith("and kept; DATASET.BAD_IMAGES skip leaves them out")
    rows = dict(row.split("\t") for row in listed.read_text().splitlines())
    assert rows == {f"{folder}/images/{name}": cause for name, cause in spoilt.items()}
    assert not (folder / "out" / "FineTune" / "record.json").exists()


def test_few_bad_images_are_all_in_the_message_and_in_no_file(folder, capsys):
    path = folder / "images" / "sketch" / "cat" / "3.png"
    path.write_bytes(b"")
    assert train(folder, "ZeroShot") == 2
    assert f"1 of 40 images cannot be read: {path} (cannot identify image file). Mend" in last_line(capsys)
    assert not (folder / "out" / "ZeroShot" / "unreadable_images.txt").exists()


def test_skip_leaves_them_out_and_counts_them_the_same_for_every_trainer(folder, spoilt, clean, capsys, monkeypatch):
    assert train(folder, "FineTune", *SKIP) == 0
    output = capsys.readouterr().out
    for line in (
        "DATASET.BAD_IMAGES skip: 2 of 14 training images cannot be read and are left out: ",
        "skip: 1 of 2 validation images cannot be read and are left out; what is measured on val is measured on the "
        "other 1: ",
        "skip: 4 of 24 test images cannot be read and are left out; what is measured on test is measured on",
        "measured on the test split without 4 images that cannot be read",
        "embeddings: 33 images, 33 decoded now",
    ):
        assert line in output
    record, split = record_of(folder, "FineTune"), split_of(folder, "FineTune")
    assert record.skipped == {"train": 2, "val": 1, "test": 4}
    assert record.samples == {"train": 12, "val": 1, "test": 20}
    for name, paths in split_of(clean, "ZeroShot").items():
        if name in record.samples:
            assert split[name] == [path for path in paths if path not in spoilt]
            assert sorted(split["skipped"][name]) == sorted(path for path in paths if path in spoilt)
    # Bad images are never cached; that loads no model for a later run.
    monkeypatch.setattr(vlm, "load", lambda *_: pytest.fail("the model was loaded again"))
    assert train(folder, "TipAdapterF", *SKIP) == 0
    assert "embeddings: 33 images, 0 decoded now" in capsys.readouterr().out
    assert record_of(folder, "TipAdapterF").split_sha256 == record.split_sha256


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


@pytest.mark.parametrize("spoil", [written(b""), os.mkfifo], ids=["no byte", "pipe"])
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("photo/dog/*", "none of the training images of class 'dog' can be read: mend one of them"),
        ("sketch/*/*", "can be read: mend one of them, or take the domain out of the run"),
    ],
)
def test_a_class_or_domain_of_which_nothing_is_left_is_refused(folder, capsys, pattern, message, spoil):
    for path in sorted((folder / "images").glob(pattern)):
        path.unlink()
        spoil(path)
    assert train(folder, "ZeroShot", *SKIP) == 2
    assert message in last_line(capsys)


def test_extract_goes_by_the_same_policy(folder, spoilt, capsys):
    file = folder / "file" / "data.safetensors"
    words = ("--output", file, "--seed", 0, *flags(folder), *DOMAINS, "--plugin", "math", *keys(folder))
    with pytest.raises(UnreadableError, match=rf"\(all of them: {folder}/file/unreadable_images\.txt\)"):
        extract(extract_request(*words))
    assert not file.exists()
    extract(extract_request(*words, *SKIP))
    assert "left out, cannot be read" in capsys.readouterr().out
    sizes = {name: len(rows) for name, rows in read_embedding_file(file).splits().items()}
    assert sizes == {"train": 12, "val": 1, "test": 20}


def test_images_that_a_cluster_encodes_ahead_go_by_the_same_policy(folder, spoilt):
    cfg = make_cfg(
        **{"DATASET__NAME": "DomainFolders", "DATASET__ROOT": folder / "images", "DATASET__SOURCE_DOMAINS": ["photo"]},
        **{"MODEL__BACKBONE__NAME": f"local-dir:{folder / 'model'}", "DATASET__TARGET_DOMAINS": ["sketch"]},
        **{"VLM__ALLOW_RANDOM": True, "VLM__PRECISION": "fp32", "EMBEDDINGS__CACHE_DIR": folder / "cache"},
        OUTPUT_DIR=str(folder / "out"),
    )

    def encode_ahead(cfg, paths):
        return encode_shard(json.dumps(cfg), 1, build_encoder(cfg).missing_images(paths))

    dataset = open_dataset(cfg)
    with pytest.raises(UnreadableError, match=r"^7 of 40 images cannot be read: .*unreadable_images\.txt"):
        build_embeddings(cfg, dataset, describe_domains=False, encode_ahead=encode_ahead)
    cfg.DATASET.BAD_IMAGES, cfg.EMBEDDINGS.CACHE_DIR = "skip", str(folder / "other cache")
    encoded = build_embeddings(cfg, dataset, describe_domains=False, encode_ahead=encode_ahead)
    assert count_skipped(encoded.dataset) == {"train": 2, "val": 1, "test": 4}
    assert (encoded.report.images, encoded.report.decoded) == (33, 33)


def run_benchmark(folder, monkeypatch, *settings):
    words = ["benchmark.py", "--trainers", "ZeroShot", "FineTune", "--seeds", 2, "--shots", 4, *flags(folder)]
    words += ["--jobs", 1, "--output-dir", folder / "bench", *keys(folder)]
    words += ["DATASET.SOURCE_DOMAINS", "['photo']", "DATASET.TARGET_DOMAINS", "['sketch']", *settings]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    return benchmark_tool.main()


def test_a_benchmark_goes_by_the_same_policy_and_says_so_with_its_table(folder, spoilt, capsys, monkeypatch):
    assert run_benchmark(folder, monkeypatch) == 2
    assert capsys.readouterr().err.count("images cannot be read: ") >= 4
    assert run_benchmark(folder, monkeypatch, *SKIP) == 0
    note = "images that cannot be read are left out (DATASET.BAD_IMAGES skip): "
    assert f"note: images, shots 4, imbalance 1: {note}" in capsys.readouterr().err
    assert note in (folder / "bench" / "report.html").read_text()
    records = [read_record(path) for path in (folder / "bench").rglob("record.json")]
    assert {record.skipped["test"] for record in records} == {4}
    assert {record.seed for record in records} == {0, 1}
    assert len({(record.seed, record.split_sha256) for record in records}) == 2


def test_a_look_inside_a_run_sees_what_the_run_saw(folder, spoilt, caplog):
    assert train(folder, "LARE", *SKIP, "TRAINER.LARE.EPOCHS", 2) == 0
    # An image that has been mended since was not in the run.
    shutil.copyfile(folder / "images" / "sketch" / "cat" / "0.png", folder / "images" / next(iter(spoilt)))
    listed = folder / "out" / "LARE" / "unreadable_images.txt"
    before = listed.read_bytes()
    caplog.clear()
    inside = open_run(folder / "out" / "LARE")
    assert caplog.messages == []
    assert listed.read_bytes() == before
    assert inside.train.names == split_of(folder, "LARE")["train"]
    assert len(inside.embeddings.test) == len(inside.test.names) == 20
    page = write_report(Options(folder / "out", folder / "report.html")).read_text()
    assert "cannot be looked into" not in page


PLUGIN = """
from types import SimpleNamespace
from lare_dassl.host.door import TRAINER_REGISTRY, build_dataset


@TRAINER_REGISTRY.register()
class ReadsImages:
    def __init__(self, cfg):
        self.dm = SimpleNamespace(dataset=build_dataset(cfg))
"""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SKIP, "DATASET.BAD_IMAGES skip: ReadsImages reads the images itself, so none can be left out"),
        ((), "images are links to nothing or no files, the first is "),
    ],
)
@pytest.mark.usefixtures("spoilt")
def test_trainers_of_plugins_refuse_in_one_line(folder, capsys, monkeypatch, settings, message):
    forget_plugins(monkeypatch, "reads_images")
    (folder / "reads_images.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    assert train(folder, "ReadsImages", *settings, plugins=("--plugin", "reads_images")) == 2
    assert message in last_line(capsys)
