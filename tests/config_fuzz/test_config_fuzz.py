"""Configurations at random: each is refused in one line with exit code 2, or is one that a run can have."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lare_dassl.commands import train as train_command
from lare_dassl.config.merging import MAPPINGS
from tests.config_fuzz import mistakes
from tests.config_fuzz.calling import call, judge
from tests.config_fuzz.conftest import examples
from tests.config_fuzz.mistakes import KEYS, TRAINERS, as_word, one_line, right_values, trees
from tools import train

DATASETS = {
    "EmbeddingFile": ("--root", "{world}/data.safetensors", "--seed", "0"),
    "DomainFolders": (
        *("--root", "{world}/images", "--backbone", "local-dir:{world}/model", "--source-domains", "photo"),
        *("--target-domains", "sketch", "--seed", "0"),
    ),
    "DemoWorld": ("--root", "demo", "--backbone", "demo", "--seed", "0"),
}
trainers = st.sampled_from(TRAINERS)
datasets = st.sampled_from(sorted(DATASETS))


def words_of(world: Path, trainer: str, dataset: str) -> list[str]:
    """The start of a command line without mistakes."""
    return ["--trainer", trainer, *(word.format(world=world) for word in DATASETS[dataset])]


def settings_of(dataset: str) -> list[str]:
    """The overrides that belong to it."""
    return ["DATASET.NAME", dataset, "VLM.ALLOW_RANDOM", str(dataset == "DomainFolders")]


@pytest.fixture
def check_alone(monkeypatch):
    """Let tools/train.py end where it would begin to read data."""
    monkeypatch.setattr(train_command, "carry_out", lambda *_: None)


@examples(300)
@given(trainer=trainers, dataset=datasets, words=mistakes.overrides())
def test_overrides(here, check_alone, trainer, dataset, words):
    judge("overrides", *call(train.main, *words_of(here, trainer, dataset), *settings_of(dataset), *words))


CONTENTS = {"files of sections and keys": mistakes.files, "files of anything": mistakes.odd_files}


@pytest.mark.parametrize("kind", CONTENTS)
def test_files(here, check_alone, kind):
    @examples(250)
    @given(trainer=trainers, dataset=datasets, content=CONTENTS[kind])
    def try_file(trainer, dataset, content):
        Path("my.yaml").write_bytes(content)
        words = [*words_of(here, trainer, dataset), "--config-file", "my.yaml", *settings_of(dataset)]
        judge(kind, *call(train.main, *words))

    try_file()


@pytest.mark.parametrize("key", [*sorted(KEYS), *(f"{name}.photo" for name in MAPPINGS)])
def test_every_key(here, check_alone, key):
    @examples(4)
    @given(trainer=trainers, value=trees | right_values(key) if key in KEYS else trees, in_file=st.booleans())
    def try_values(trainer, value, in_file):
        words = [*words_of(here, trainer, "EmbeddingFile")]
        if in_file:
            Path("my.yaml").write_text(f"{key}: {one_line(value)}\n", encoding="ascii")
            words += ["--config-file", "my.yaml"]
        words += ["DATASET.NAME", "EmbeddingFile", *([] if in_file else [key, as_word(value)])]
        judge("every key in turn", *call(train.main, *words))

    try_values()


FLAG_VALUES = st.sampled_from(["", "0", "-1", "99999999999", "1.5", "x", "photo", "no/such", "{world}", "a" * 300])
FLAGS = (
    *("--root", "--resume", "--seed", "--source-domains", "--target-domains", "--transforms", "--config-file"),
    *("--dataset-config-file", "--trainer", "--backbone", "--head", "--model-dir", "--load-epoch", "--plugin"),
)


@examples(100)
@given(
    trainer=trainers,
    flags=st.lists(st.tuples(st.sampled_from(FLAGS), FLAG_VALUES), max_size=3),
    switches=st.lists(st.sampled_from(["--eval-only", "--no-train"]), max_size=2),
)
def test_flags(here, check_alone, trainer, flags, switches):
    words = [word.format(world=here) for word in itertools.chain.from_iterable(flags)]
    given_flags = [*words_of(here, trainer, "EmbeddingFile"), *words, *switches, "--seed", "0"]
    judge("flags", *call(train.main, *given_flags, "DATASET.NAME", "EmbeddingFile"))


# What decides how long a run takes is kept small; what names files is as it was.
SMALL = {"OPTIM.MAX_EPOCH": (1, 3), "TRAINER.LARE.EPOCHS": (1, 2), "TRAINER.LADS.EPOCHS": (1, 2)}
SMALL |= {"DATALOADER.NUM_WORKERS": (0, 1), "TRAINER.CONTEXTOPTIMISATION.N_CTX": (1, 4)}
PATHS = ("OUTPUT_DIR", "RESUME", "DATASET.ROOT", "DATASET.SPLIT_FILE", "DATASET.NAME", "EMBEDDINGS.CACHE_DIR")
OTHERS = ("TRAINER.NAME", "MODEL.", "VLM.P", "INPUT.", "TRAINER.CO")
RUN_KEYS = [key for key in sorted(KEYS) if not key.startswith((*PATHS, *OTHERS))]
RUN_KEYS += [key for key in KEYS if key.startswith("TRAINER.CONTEXT")]


@st.composite
def settings_that_may_run(draw: st.DrawFn) -> list[str]:
    """Values in or beside the range of a few keys."""
    words = []
    for key in draw(st.lists(st.sampled_from(RUN_KEYS), max_size=3)):
        value = st.sampled_from(SMALL[key]) if key in SMALL else right_values(key)
        words += [key, as_word(draw(value))]
    return words


@examples(40)
@given(trainer=trainers, words=settings_that_may_run(), number=st.integers(0, 10**9))
def test_real_runs(here, trainer, words, number):
    dataset = "DomainFolders" if trainer == "ContextOptimisation" else "EmbeddingFile"
    small = [word for key, values in SMALL.items() for word in (key, str(values[0]))]
    folder = Path(f"run{number}")
    given_flags = [*words_of(here, trainer, dataset), "--output-dir", str(folder)]
    code, errors = call(train.main, *given_flags, *settings_of(dataset), *small, *words)
    if judge("real runs", code, errors, "encoding images"):
        assert (folder / "record.json").is_file()
