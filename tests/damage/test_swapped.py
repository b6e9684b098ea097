"""A file of another run, or of another model, in the place of a run's own: named, and never counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lare_dassl.embeddings.cache.hashes import text_key
from lare_dassl.embeddings.cache.store import EmbeddingStore
from lare_dassl.errors import InputError
from lare_dassl.results.classifier_file import read_classifier
from lare_dassl.results.image_classifier import load_classifier
from lare_dassl.results.predictions import read_predictions
from lare_dassl.results.record import read_record
from tests.damage.conftest import train_in
from tests.helpers import run_train, shifted_embeddings


@pytest.fixture
def run(world, tmp_path) -> Path:
    """A copy of the run of seed 0, into which files of the run of seed 1 are put."""
    return shutil.copytree(world / "runs/0", tmp_path / "0")


def put(world: Path, run: Path, name: str) -> None:
    source = world / "runs/1" / name
    if source.is_dir():
        shutil.copytree(source, run / name, dirs_exist_ok=True)
    else:
        shutil.copy(source, run / name)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("predictions.safetensors", read_predictions),
        ("classifier.safetensors", read_classifier),
        ("classifier.safetensors", lambda path: load_classifier(path.parent)),
    ],
)
def test_another_runs_outcome_is_named(world, run, name, read):
    read(run / name)
    put(world, run, name)
    with pytest.raises(InputError) as error:
        read(run / name)
    assert str(run / name) in str(error.value)
    assert f"it is not the {name} that the record.json beside it names: run again" in str(error.value)


def refused(run: Path, capsys, *flags: object, seed: int = 0) -> str:
    """The one line with which a training in the folder of a run is refused."""
    capsys.readouterr()
    assert train_in(run, run.parent / "data.safetensors", seed, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def data(world, run) -> Path:
    return Path(shutil.copy(world / "data.safetensors", run.parent / "data.safetensors"))


@pytest.mark.parametrize("name", ["model", "regions", "model/model-best.pth.tar"])
def test_another_runs_network_is_neither_trained_on_nor_tested(world, run, data, capsys, name):
    put(world, run, name)
    line = refused(run, capsys)
    assert f"{run / name}" in line and "SEED is 1 there and 0 here" in line


def test_another_runs_best_model_is_named_where_a_record_lies_beside_it(world, run, data, capsys):
    words = ("--trainer", "LARE", "--root", data, "--eval-only", "--model-dir", run)
    keys = ("DATASET.NAME", "EmbeddingFile", "TRAINER.LARE.HIDDEN_DIM", 8)
    assert run_train(*words, *keys) == 0
    put(world, run, "model")
    capsys.readouterr()
    assert run_train(*words, *keys) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is of another run than {run}/record.json (SEED is 1 there and 0 here)" in line
    (run / "record.json").unlink()
    assert run_train(*words, *keys) == 0


def test_a_record_that_an_earlier_run_left_stops_no_new_training(run, data):
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "regions")
    assert read_record(run / "record.json").seed == 0
    assert train_in(run, data, 5) == 0
    assert read_record(run / "record.json").seed == 5


def test_the_same_command_mends_a_damaged_outcome(world, run, data):
    whole = read_record(world / "runs/0/record.json")
    for name in ("predictions.safetensors", "classifier.safetensors", "split.json", "record.json"):
        (run / name).write_bytes((run / name).read_bytes()[:-30])
    assert train_in(run, data, 0) == 0
    assert read_record(run / "record.json").metrics == whole.metrics
    assert read_record(run / "record.json").files == whole.files
    assert len(read_predictions(run / "predictions.safetensors")) == len(shifted_embeddings().test)
    read_classifier(run / "classifier.safetensors")


def test_embeddings_of_another_model_are_not_taken_for_its_own(tmp_path, caplog):
    keys = [text_key(name) for name in "abc"]
    stores = [EmbeddingStore(tmp_path, sign * 64) for sign in "ef"]
    for number, store in enumerate(stores):
        store.add(keys, torch.full((3, 4), float(number)))
        store.remember(logit_scale=float(number))
        store.gather(keys)
    for path in stores[0].folder.iterdir():
        path.unlink()
    for path in stores[1].folder.iterdir():
        shutil.copy(path, stores[0].folder / path.name)
    found = EmbeddingStore(tmp_path, "e" * 64)
    assert found.missing(keys) == keys
    assert found.facts() == {}
    assert "is damaged (it is of another model): removed" in caplog.text
    assert f"{found.folder / 'model.json'} is damaged (it is not of this model) and is made anew" in caplog.text
    assert torch.equal(EmbeddingStore(tmp_path, "f" * 64).gather(keys), torch.ones(3, 4))


def test_an_index_of_another_model_says_nothing_of_this_one(tmp_path):
    keys = [text_key(name) for name in "abc"]
    stores = [EmbeddingStore(tmp_path, sign * 64) for sign in "ef"]
    for number, store in enumerate(stores):
        store.add(keys, torch.full((3, 4), float(number)))
        store.gather(keys)
    shutil.copy(stores[1].folder / "shards.index", stores[0].folder / "shards.index")
    assert torch.equal(EmbeddingStore(tmp_path, "e" * 64).gather(keys), torch.zeros(3, 4))
