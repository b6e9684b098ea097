"""Options of the other tools at random: refused in one line with exit code 2, or the tool does its work."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lare_dassl.commands.benchmark import command
from lare_dassl.commands.prepare import prepare
from tests.config_fuzz.calling import call, judge
from tests.config_fuzz.conftest import examples
from tests.helpers import train_on_images
from tools import benchmark, extract, predict, prepare_data, report

NUMBERS = ("0", "-1", "1", "2", "1.5", "1e3", "nan", "inf", "foo", "", " ", "٣", "9" * 12, "9" * 400, "9" * 5000)
PLACES = ("", "no/such", "/dev/null", "/proc/no", "a" * 300, "a/" * 3000, "~nobody/x", "a\nb", "\udcff", ".", "--x")
NAMES = ("", "LAER", "LARE", "all", "cat", "a" * 5000, "\x1b[2J", "None", "[]", "cub")


def options(numbers=(), places=(), names=(), switches=()):
    """A few options with values that may be wrong."""
    kinds = ((numbers, NUMBERS), (places, (*PLACES, "{world}/images", "{world}/data.safetensors")), (names, NAMES))
    pairs = [st.tuples(st.sampled_from(flags), st.sampled_from(values)) for flags, values in kinds if flags]
    pairs += [st.tuples(st.sampled_from(switches))] if switches else []
    lists = st.lists(st.one_of(pairs), min_size=1, max_size=3)
    return lists.map(lambda chosen: list(itertools.chain.from_iterable(chosen)))


BESIDE = ("refused: ", "left out: ", "note: ", "cannot read ", "no report: ", "classifying images", "runs, ")


def tried(kind, main, here, words):
    """Call a tool with words in which {world} stands for the folder with data, and judge what came of it."""
    judge(kind, *call(main, *(word.replace("{world}", str(here)) for word in words)), *BESIDE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_on_images(tmp_path_factory.mktemp("trained"))


@examples(60)
@given(
    words=options(
        numbers=("--seeds", "--jobs", "--threads", "--shots", "--ratios", "--ray-cpus", "--ray-wait"),
        places=("--output-dir", "--root", "--config-file", "--dataset-config-file"),
        names=("--profile", "--backbone", "--plugin", "--trainers", "--engine", "--set", "--config-of"),
    ),
    values=st.lists(st.sampled_from(["TRAINER.LARE.ALPHA", "OPTIM.LR", "0.5", "x", "", "nan"]), max_size=3),
)
def test_benchmark(here, monkeypatch, words, values):
    monkeypatch.setattr(command, "encode_shared", lambda *_: {})
    monkeypatch.setattr(command, "_carry_out", lambda *_: {})
    given_flags = ["--trainers", "LARE", "--root", "{world}/data.safetensors", "--seeds", "2", *words]
    given_flags += ["--set", *values] if values else []
    tried("benchmark.py", benchmark.main, here, [*given_flags, "--threads", "1", "DATASET.NAME", "EmbeddingFile"])


@examples(40)
@given(words=options(places=("--output", "--root", "--config-file"), names=("--dtype", "--engine", "--backbone")))
def test_extract(here, words):
    given_flags = ["--root", "{world}/data.safetensors", "--output", "out.safetensors", *words]
    tried("extract.py", extract.main, here, [*given_flags, "DATASET.NAME", "EmbeddingFile"])


@examples(40)
@given(
    folder=st.sampled_from(["{world}/images", *PLACES]),
    words=options(places=("--output", "--run"), names=("--baseline", "--reference", "--classes")),
)
def test_report(here, folder, words):
    tried("report.py", report.main, here, [folder, *words])


@examples(40)
@given(
    words=options(("--top", "--batch-size"), ("--model-dir", "--pretrained"), ("--backbone",), ["--json"]),
    image=st.sampled_from(["{world}/images/photo/cat/0.png", "{world}/data.safetensors", *PLACES[:-2]]),
)
def test_predict(here, trained, words, image):
    tried("predict.py", predict.main, here, [image, "--model-dir", str(trained / "run"), *words])


@examples(40)
@given(
    name=st.sampled_from(["demo", "cub", *NAMES]),
    words=options(numbers=("--sample",), places=("--root",), switches=["--no-download", "--delete-archives"]),
    opts=st.lists(st.sampled_from(["DATASET.NUM_SHOTS", "OPTIM.LR", "x", "1", "nan", ""]), max_size=3),
)
def test_prepare_data(here, monkeypatch, name, words, opts):
    monkeypatch.setattr(prepare, "_get_dataset", lambda *_: (None, []))
    tried("prepare_data.py", prepare_data.main, here, [name, *words, "--no-download", *opts])


def test_the_folder_is_left_as_it_was(here):
    """What is refused leaves nothing behind."""
    assert call(benchmark.main, "--trainers", "LARE", "--seeds", "0")[0] == 2
    assert call(extract.main, "--output", "x/out.safetensors", "--seed", "-7")[0] == 2
    assert not list(Path().iterdir())
