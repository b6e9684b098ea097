"""Damage at random: what is damaged is refused in one line that names it, or rebuilt, or it says what it said before.

`make test` tries the same cases each time, `make fuzz` others, and many more.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

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
from lare_dassl.report.terminal import _reached_ratio
from lare_dassl.results.classifier_file import read_classifier
from lare_dassl.results.plan_file import PlannedRecord, read_plan, write_plan
from lare_dassl.results.predictions import read_predictions
from lare_dassl.results.record import read_record
from tests.commands.prepare.test_archives import GOOD, contents, unpack_here, write_tar, write_zip
from tests.damage.damaging import TIMES, Damage, damages, flip_at, json_changes, safetensors_parts, tried
from tests.datasets.cifar_writing import official_rows, python2_pickle


def same(one: Any, other: Any) -> bool:
    """Whether two contents are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def assert_refused_or_same(path: Path, content: bytes, damage: Damage, read: Callable[[Path], Any], whole: Any) -> None:
    """Read a damaged file: it must be named in one line, or give what the whole one gives."""
    path.write_bytes(damage(content))
    try:
        found = read(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        # The name of a checksum may be damaged too; it is then a word of no meaning beside what the record says.
        assert same(found, whole)


def classifier_content(path: Path) -> Any:
    saved = read_classifier(path)
    state = dict(saved.module.state_dict())
    return state, saved.classnames, saved.temperature, saved.calibration_rows, asdict(saved.vlm)


def embedding_content(path: Path) -> Any:
    content = read_embedding_file(path)
    return {name: vars(rows) for name, rows in content.splits().items()}, {
        name: value for name, value in vars(content).items() if name not in ("train", "val", "test", "vlm")
    } | asdict(content.vlm)


FILES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "record": ("runs/0/record.json", lambda path: read_record(path).model_dump()),
    "predictions": ("runs/0/predictions.safetensors", lambda path: vars(read_predictions(path))),
    "classifier": ("runs/0/classifier.safetensors", classifier_content),
    "embedding file": ("data.safetensors", embedding_content),
    "checkpoint": ("runs/0/model/model.pth.tar-4", checkpoint.read),
    "best checkpoint": ("runs/0/model/model-best.pth.tar", checkpoint.read),
    "region network": ("runs/0/regions/model.pth.tar-2", checkpoint.read),
}
"""Files that are refused where they are damaged, and how each is read."""


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder to put damaged files into."""
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_or_says_the_same(name, world, place):
    file, read = FILES[name]
    content, path = (world / file).read_bytes(), place / Path(file).name
    whole = read(world / file)
    parts = safetensors_parts(content) if file.endswith(".safetensors") else ()

    @tried(200)
    @given(damages(parts))
    def campaign(damage):
        assert_refused_or_same(path, content, damage, read, whole)

    campaign()


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_says_something_else(name, world, place):
    file, read = FILES[name]
    content, path = (world / file).read_bytes(), place / Path(file).name
    whole = read(world / file)
    for position in range(0, len(content), 1 if TIMES > 1 else 50):
        assert_refused_or_same(path, content, flip_at(position, position % 8), read, whole)


def test_the_name_of_the_latest_checkpoint(world, place):
    folder = shutil.copytree(world / "runs/0/model", place / "model")
    content, whole = (folder / "checkpoint").read_bytes(), checkpoint.read(folder / "model.pth.tar-4")

    @tried(100)
    @given(damages())
    def campaign(damage):
        (folder / "checkpoint").write_bytes(damage(content))
        try:
            found = checkpoint.read(checkpoint.latest(folder))
        except InputError as error:
            assert str(folder) in str(error) and "\n" not in str(error)
        else:
            assert same(found, whole)

    campaign()


def test_a_plan(world, place):
    path = place / "plan.json"
    configs = [read_record(world / f"runs/{seed}/record.json").config for seed in (0, 1)]
    runs = tuple(PlannedRecord.of(config, folder="a") for config in configs)
    content = write_plan(path, runs).read_bytes()

    @tried(150)
    @given(damages())
    def campaign(damage):
        assert_refused_or_same(path, content, damage, read_plan, runs)

    campaign()


def test_a_split(world, place):
    content, path = (world / "runs/0/split.json").read_bytes(), place / "split.json"
    digest = hashlib.sha256(content).hexdigest()
    whole = _reached_ratio(world / "runs/0/split.json", digest)
    assert whole == 1.0

    @tried(100)
    @given(damages())
    def campaign(damage):
        path.write_bytes(damage(content))
        assert _reached_ratio(path, digest) == (whole if damage(content) == content else None)

    campaign()


def keys_of(*names):
    return [text_key(name) for name in names]


def filled_store(folder):
    store = EmbeddingStore(folder, "f" * 64)
    for number, names in enumerate(("abc", "def", "ghi")):
        store.add(keys_of(*names), torch.randn(3, 8, generator=torch.Generator().manual_seed(number)))
    store.remember(embedding_dim=8, logit_scale=100.0, agrees_with_fp32_on_cpu=True)
    return store, store.gather(keys_of(*"abcdefghi"))


@pytest.mark.parametrize("pattern", ["*.safetensors", "shards.index", "model.json"])
@pytest.mark.parametrize("unseen", [True, False], ids=["with its old time", "with a new time"])
def test_what_is_damaged_in_the_cache_is_encoded_again(pattern, unseen, place):
    original = place / f"cache-{pattern[0]}-{unseen}"
    store, whole = filled_store(original)
    files = {path: (path.read_bytes(), path.stat()) for path in sorted(store.folder.iterdir())}
    damaged = next(path for path in files if path.match(pattern))

    @tried(100)
    @given(damages(safetensors_parts(files[damaged][0]) if damaged.suffix == ".safetensors" else ()))
    def campaign(damage):
        for path in [*store.folder.iterdir()]:
            path.unlink()
        for path, (content, stat) in files.items():
            path.write_bytes(damage(content) if path == damaged else content)
            if unseen or path != damaged:
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        found = EmbeddingStore(original, "f" * 64)
        names = "abcdefghi"
        missing = found.missing(keys_of(*names))
        # What is missing is encoded again; all else must be what it was.
        held = [place for place, key in enumerate(keys_of(*names)) if key not in missing]
        if held:
            assert torch.equal(found.gather([keys_of(*names)[place] for place in held]), whole[held])
        assert len(missing) <= 3 and (pattern == "*.safetensors" or not missing)
        assert found.facts() in ({}, {"embedding_dim": 8, "logit_scale": 100.0, "agrees_with_fp32_on_cpu": True})
        assert pattern == "model.json" or found.facts()

    campaign()


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

    @tried(200)
    @given(damages([(0.6, 1.0)]))
    def campaign(damage):
        for path in folder.glob("files.sqlite*"):
            path.unlink()
        table.write_bytes(damage(content))
        assert FileHashes(folder)(images) == expected

    campaign()


def refused_in_one_line(read: Callable[[], object], name: str) -> None:
    """Read what a user brings: any content that is well formed is taken, any other named in one line."""
    try:
        read()
    except InputError as error:
        # What names a content may quote it; a tool shows it in one line all the same.
        assert name in str(error) and "\n" not in str(error).replace("a\nb", "")


def test_an_embedding_file_without_checksum(world, place):
    tensors, metadata = read_tensors(world / "data.safetensors", "embedding-file/1", "")
    path = place / "theirs.safetensors"
    save_file(tensors, path, {key: value for key, value in metadata.items() if key != "sha256"})
    content = path.read_bytes()

    @tried(200)
    @given(damages(safetensors_parts(content)))
    def campaign(damage):
        path.write_bytes(damage(content))
        refused_in_one_line(lambda: read_embedding_file(path), str(path))

    campaign()


SPLIT = {"train": ["photo/cat/0.png", "photo/dog/0.png"], "val": ["photo/cat/1.png"], "test": ["photo/dog/1.png"]}
PROMPTS = {"cat": ["a cat that purrs", "whiskers"], "dog": ["a dog that barks"]}
SETTINGS = {"OPTIM": {"LR": 0.5, "MAX_EPOCH": 3}, "DATASET": {"SOURCE_DOMAINS": ["photo"], "NUM_SHOTS": 4}}


@pytest.fixture(scope="session")
def given_files(tmp_path_factory):
    """By their names, the JSON files that a user brings, and how each is read."""
    root = tmp_path_factory.mktemp("images")
    tree = {"photo": {name: [f"photo/{name}/{number}.png" for number in (0, 1)] for name in ("cat", "dog")}}
    names = ["cat", "dog"]
    return {
        "split": (SPLIT, lambda path: read_split(path, root, tree, ["photo"])),
        "prompts": (PROMPTS, lambda path: read_prompts_file(path, names, names)),
        "settings": (SETTINGS, lambda path: merging.merge_file(merging.new_config(), path)),
        "record": (None, read_record),
    }


@pytest.mark.parametrize("name", ["split", "prompts", "settings"])
def test_a_file_that_a_user_brings(name, given_files, place):
    content, read = given_files[name]
    path = place / f"{name}.json"

    @tried(120)
    @given(
        st.one_of(
            damages().map(lambda damage: damage(json.dumps(content).encode())),
            json_changes().map(lambda change: json.dumps(change(content)).encode()),
        )
    )
    def campaign(written):
        path.write_bytes(written)
        refused_in_one_line(lambda: read(path), str(path))

    campaign()


@pytest.mark.parametrize(("name", "write"), [("a.zip", write_zip), ("a.tar.gz", write_tar)])
def test_an_archive(name, write, place):
    folder = place / name.replace(".", "-")
    folder.mkdir()
    path = write(folder / name, GOOD)
    content, whole = path.read_bytes(), {name.partition("/")[2]: text for name, text in GOOD.items()}

    @tried(120)
    @given(damages())
    def campaign(damage):
        shutil.rmtree(folder / "PACS", ignore_errors=True)
        path.write_bytes(damage(content))
        refused_in_one_line(lambda: unpack_here(path), str(path))
        assert {entry.name for entry in folder.iterdir()} <= {name, "PACS"}
        assert contents(folder / "PACS") in ({}, whole)

    campaign()


def test_official_files_of_cifar(place):
    content, path = python2_pickle(official_rows([1, 2])), place / "train"

    @tried(150)
    @given(damages([(0.0, 0.03), (0.97, 1.0)]))
    def campaign(damage):
        path.write_bytes(damage(content))
        refused_in_one_line(lambda: read_rows(path), str(path))

    campaign()


def test_a_changed_record_with_a_forged_checksum_is_refused_or_reported(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    for seed in ("0", "1"):
        shutil.copytree(world / "runs" / seed, folder / seed, ignore=shutil.ignore_patterns("tensorboard", "log.txt"))
    record = json.loads((folder / "1" / "record.json").read_text())

    @tried(60)
    @given(json_changes())
    def campaign(change):
        changed = change(record)
        forged = sealed(changed) if isinstance(changed, dict) else changed
        (folder / "1" / "record.json").write_text(json.dumps(forged))
        refused_in_one_line(lambda: report(folder), "")

    campaign()


def report(folder: Path) -> None:
    """All tables of the runs in a folder, in all forms."""
    results = results_of(collect(folder), "", "")
    texts = [text for table in report_tables(results) for text in (markdown(table), latex(table, "tab:x"))]
    assert not any("\x1b" in text or "\x00" in text or "<script" in text for text in texts)
    write_tables(folder / "tables", results)
