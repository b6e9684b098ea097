"""Damage at random: what is damaged is refused in one line that names it, or rebuilt, or it says what it said before.

`make test` tries the same cases each time, `make fuzz` others, and many more.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save

from lare_dassl.config import merging
from lare_dassl.datasets.cifar_files import read_rows
from lare_dassl.datasets.domain_folders import read_split
from lare_dassl.embeddings.cache.hashes import FileHashes, text_key
from lare_dassl.embeddings.cache.store import EmbeddingStore
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.encoding.prompts import read_prompts_file
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.io.json_files import sealed
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.io.tensors import read_tensors
from lare_dassl.report.formats import latex, markdown
from lare_dassl.report.runs.collect import collect
from lare_dassl.report.runs.results import results_of
from lare_dassl.report.tables import report_tables, write_tables
from lare_dassl.report.terminal import accuracy_table
from lare_dassl.results.classifier_file import read_classifier
from lare_dassl.results.plan_file import PlannedRecord, read_plan, write_plan
from lare_dassl.results.predictions import read_predictions
from lare_dassl.results.record import read_record
from tests.commands.prepare.test_archives import GOOD, contents, unpack_here, write_tar, write_zip
from tests.damage.damaging import TIMES, campaign, damages, flip_at, json_changes
from tests.datasets.cifar_writing import official_rows, python2_pickle


def same(one: Any, other: Any) -> bool:
    """True where two contents are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def refused(read: Callable[[], object], name: object) -> bool:
    """True where reading raises an InputError, which must be one line and name the file."""
    try:
        read()
    except InputError as error:
        # A message may quote a name with a line break, which the commands print in one line.
        assert str(name) in str(error) and "\n" not in str(error).replace("a\nb", "")
        return True
    return False


def classifier_content(path: Path) -> Any:
    saved = read_classifier(path)
    state = dict(saved.module.state_dict())
    return state, saved.classnames, saved.temperature, saved.calibration_rows, asdict(saved.vlm)


def embedding_content(path: Path) -> Any:
    content = read_embedding_file(path)
    return {name: vars(rows) for name, rows in content.splits().items()}, {
        name: value for name, value in vars(content).items() if name not in ("train", "val", "test", "vlm")
    } | asdict(content.vlm)


def latest_checkpoint(path: Path) -> Any:
    found = checkpoint.latest(path.parent)
    assert found is not None
    return checkpoint.read(found)


FILES: dict[str, tuple[str, Callable[[Path], Any], int]] = {
    "record": ("runs/0/record.json", lambda path: read_record(path).model_dump(), 200),
    "predictions": ("runs/0/predictions.safetensors", lambda path: vars(read_predictions(path)), 200),
    "classifier": ("runs/0/classifier.safetensors", classifier_content, 200),
    "embedding file": ("data.safetensors", embedding_content, 200),
    "checkpoint": ("runs/0/model/model.pth.tar-4", checkpoint.read, 200),
    "best checkpoint": ("runs/0/model/model-best.pth.tar", checkpoint.read, 200),
    "region network": ("runs/0/regions/model.pth.tar-2", checkpoint.read, 200),
    "name of the latest checkpoint": ("runs/0/model/checkpoint", latest_checkpoint, 150),
    "plan": ("plan.json", read_plan, 150),
}
"""Files that are refused where they are damaged: where each lies, how it is read, and how many cases are tried."""


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder to put damaged files into."""
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_or_says_the_same(name, world, place):
    file, read, cases = FILES[name]
    if name == "plan":
        configs = [read_record(world / f"runs/{seed}/record.json").config for seed in (0, 1)]
        write_plan(world / file, tuple(PlannedRecord.of(config, folder="a") for config in configs))
    folder = shutil.copytree((world / file).parent, place / name, ignore=shutil.ignore_patterns("runs"))
    path = folder / Path(file).name
    content, whole = path.read_bytes(), read(path)

    def check(damage):
        path.write_bytes(damage(content))
        # A damaged pointer leads to the folder.
        assert refused(lambda: read(path), path.parent) or same(read(path), whole)

    campaign(cases, damages(content if path.suffix == ".safetensors" else b""), check)
    for position in range(0, len(content), 1 if TIMES > 1 else 50):
        check(flip_at(position, position % 8))


def keys_of(names):
    return [text_key(name) for name in names]


def filled_store(folder):
    store = EmbeddingStore(folder, "f" * 64)
    for number, names in enumerate(("abc", "def", "ghi")):
        store.add(keys_of(names), torch.randn(3, 8, generator=torch.Generator().manual_seed(number)))
    store.remember(embedding_dim=8, logit_scale=100.0, agrees_with_fp32_on_cpu=True)
    return store, store.gather(keys_of("abcdefghi"))


@pytest.mark.parametrize("pattern", ["*.safetensors", "shards.index", "model.json"])
@pytest.mark.parametrize("unseen", [True, False], ids=["with its old time", "with a new time"])
def test_what_is_damaged_in_the_cache_is_encoded_again(pattern, unseen, place):
    original = place / f"cache-{pattern[0]}-{unseen}"
    store, whole = filled_store(original)
    files = {path: (path.read_bytes(), path.stat()) for path in sorted(store.folder.iterdir())}
    damaged = next(path for path in files if path.match(pattern))
    keys = keys_of("abcdefghi")

    def check(damage):
        for path in [*store.folder.iterdir()]:
            path.unlink()
        for path, (content, stat) in files.items():
            path.write_bytes(damage(content) if path == damaged else content)
            if unseen or path != damaged:
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        found = EmbeddingStore(original, "f" * 64)
        missing = found.missing(keys)
        # Missing embeddings are encoded again; all others must be unchanged.
        held = [place for place, key in enumerate(keys) if key not in missing]
        if held:
            assert torch.equal(found.gather([keys[place] for place in held]), whole[held])
        assert len(missing) <= 3 and (pattern == "*.safetensors" or not missing)
        assert found.facts() in ({}, {"embedding_dim": 8, "logit_scale": 100.0, "agrees_with_fp32_on_cpu": True})
        assert pattern == "model.json" or found.facts()

    campaign(100, damages(files[damaged][0] if damaged.suffix == ".safetensors" else b""), check)


def test_known_hashes_are_never_wrong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hashes")
    images = [folder / f"{number}.bin" for number in range(12)]
    for number, path in enumerate(images):
        path.write_bytes(bytes([number]) * 10)
        os.utime(path, (1_000_000, 1_000_000))
    expected = {path: file_sha256(path) for path in images}
    table = folder / "files.sqlite"
    assert FileHashes(folder)(images) == expected
    content = table.read_bytes()

    def check(damage):
        for path in folder.glob("files.sqlite*"):
            path.unlink()
        table.write_bytes(damage(content))
        assert FileHashes(folder)(images) == expected

    campaign(200, damages(b"", (0.6, 1.0)), check)


CLASSES = ["cat", "dog"]
TREE = {"photo": {name: [f"photo/{name}/{number}.png" for number in (0, 1)] for name in CLASSES}}
SPLIT = {"train": ["photo/cat/0.png", "photo/dog/0.png"], "val": ["photo/cat/1.png"], "test": ["photo/dog/1.png"]}
PROMPTS = {"cat": ["a cat that purrs", "whiskers"], "dog": ["a dog that barks"]}
SETTINGS = {"OPTIM": {"LR": 0.5, "MAX_EPOCH": 3}, "DATASET": {"SOURCE_DOMAINS": ["photo"], "NUM_SHOTS": 4}}


def without_checksum(world):
    tensors, metadata = read_tensors(world / "data.safetensors", "embedding-file/1", "")
    return save(tensors, {key: value for key, value in metadata.items() if key != "sha256"})


def json_damages(content):
    return st.one_of(
        damages().map(lambda damage: damage(json.dumps(content).encode())),
        json_changes().map(lambda change: json.dumps(change(content)).encode()),
    )


@pytest.mark.parametrize(
    ("name", "read", "cases"),
    [
        ("theirs.safetensors", read_embedding_file, 200),
        ("split.json", lambda path: read_split(path, path.parent, TREE, ["photo"]), 120),
        ("prompts.json", lambda path: read_prompts_file(path, CLASSES, CLASSES), 120),
        ("settings.json", lambda path: merging.merge_file(merging.new_config(), path), 120),
        ("train", read_rows, 150),
    ],
)
def test_a_file_that_a_user_brings_is_taken_or_named(name, read, cases, world, place):
    if name.endswith(".json"):
        drawn = json_damages({"split": SPLIT, "prompts": PROMPTS, "settings": SETTINGS}[name.removesuffix(".json")])
    else:
        theirs = name.endswith(".safetensors")
        content = without_checksum(world) if theirs else python2_pickle(official_rows([1, 2]))
        parts = damages(content) if theirs else damages(b"", (0.0, 0.03), (0.97, 1.0))
        drawn = parts.map(lambda damage: damage(content))

    def check(written):
        (place / name).write_bytes(written)
        refused(lambda: read(place / name), place / name)

    campaign(cases, drawn, check)


@pytest.mark.parametrize(("name", "write"), [("a.zip", write_zip), ("a.tar.gz", write_tar)])
def test_a_damaged_archive_is_unpacked_whole_or_not_at_all(name, write, place):
    folder = place / name.replace(".", "-")
    folder.mkdir()
    path = write(folder / name, GOOD)
    content, whole = path.read_bytes(), {name.partition("/")[2]: text for name, text in GOOD.items()}

    def check(damage):
        shutil.rmtree(folder / "PACS", ignore_errors=True)
        path.write_bytes(damage(content))
        expected = {} if refused(lambda: unpack_here(path), path) else whole
        assert contents(folder / "PACS") == expected
        assert {entry.name for entry in folder.iterdir()} <= {name, "PACS"}

    campaign(120, damages(), check)


def test_a_damaged_split_gives_no_reached_ratio(world, place):
    folder = shutil.copytree(world / "runs/0", place / "split")
    path, record = folder / "split.json", read_record(folder / "record.json")
    long_tailed = record.model_copy(update={"imbalance": 2.0, "config": record.config | {"OUTPUT_DIR": str(folder)}})
    content = path.read_bytes()

    def check(damage):
        path.write_bytes(damage(content))
        (reached,) = (column for column in accuracy_table([long_tailed]).columns if column.header == "reached")
        assert list(reached.cells) == ["1" if damage(content) == content else ""]

    campaign(100, damages(), check)


def test_a_changed_record_with_a_forged_checksum_is_refused_or_reported(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    for seed in ("0", "1"):
        shutil.copytree(world / "runs" / seed, folder / seed, ignore=shutil.ignore_patterns("tensorboard", "log.txt"))
    path = folder / "1" / "record.json"
    record = json.loads(path.read_text())

    def check(change):
        changed = change(record)
        path.write_text(json.dumps(sealed(changed) if isinstance(changed, dict) else changed))
        refused(lambda: report(folder), "")

    campaign(60, json_changes(), check)


def report(folder: Path) -> None:
    """All tables of the runs in a folder, in all forms."""
    results = results_of(collect(folder), "", "")
    texts = [text for table in report_tables(results) for text in (markdown(table), latex(table, "tab:x"))]
    assert not any("\x1b" in text or "\x00" in text or "<script" in text for text in texts)
    write_tables(folder / "tables", results)
