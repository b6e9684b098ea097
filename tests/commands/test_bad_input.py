"""Everything that a user may get wrong: one line on standard error, exit code 2, and nothing lost."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lare_dassl import vlm
from lare_dassl.system import network
from tests.helpers import make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_tiny_model

ROOT = Path(__file__).parents[2]
# What a command may add to: the log, and the table that only saves hashing.
GROWING = ("log.txt", "files.sqlite")

FILE_FLAGS = "--trainer LARE --seed 0 --root {tmp}/data.safetensors --output-dir {tmp}/out"
FILE_KEYS = "DATASET.NAME EmbeddingFile OPTIM.MAX_EPOCH 2 TRAINER.LARE.EPOCHS 2"
IMAGE_FLAGS = (
    "--trainer FineTune --seed 0 --root {tmp}/images --output-dir {tmp}/out --backbone local-dir:{tmp}/model "
    "--source-domains photo --target-domains sketch"
)
IMAGE_KEYS = (
    "DATASET.NAME DomainFolders OPTIM.MAX_EPOCH 2 VLM.ALLOW_RANDOM True VLM.PRECISION fp32 "
    "EMBEDDINGS.CACHE_DIR {tmp}/cache DATALOADER.NUM_WORKERS 0"
)


def nothing(_: Path) -> None:
    """Spoil nothing."""


@dataclass(frozen=True)
class Case:
    """A command with one mistake.

    Attributes:
        says: what the line must name; {tmp} stands for the test's folder.
        flags: added to the flags of the good command, and stronger.
        keys: added to its overrides, and stronger.
        spoil: makes the mistake in the files of the test's folder.
        images: whether the good command is the one on images; else it is on an embedding file.
    """

    says: tuple[str, ...]
    flags: str = ""
    keys: str = ""
    spoil: Callable[[Path], None] = nothing
    images: bool = False

    def words(self, folder: Path) -> list[str]:
        """The command line."""
        flags, keys = (IMAGE_FLAGS, IMAGE_KEYS) if self.images else (FILE_FLAGS, FILE_KEYS)
        # The empty --head ends a list of domains, which would take in the keys.
        return [word.format(tmp=folder) for word in shlex.split(f"{flags} {self.flags} --head '' {keys} {self.keys}")]


def write(name: str, text: str) -> Callable[[Path], None]:
    """Write a text file."""

    return write_bytes(name, text.encode())


def write_bytes(name: str, content: bytes) -> Callable[[Path], None]:
    """Write a file, with the folders above it."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def set_tensor(key: str, row: int, value: float) -> Callable[[Path], None]:
    """Set one row of a tensor of the embedding file, and take out the checksum, which files of others have not."""

    def spoil(folder: Path) -> None:
        path = folder / "data.safetensors"
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        tensors[key][row] = value
        del metadata["sha256"]
        save_file(tensors, path, metadata)

    return spoil


def drop_class(folder: Path) -> None:
    """Take the train rows of owl (label 3) out of the embedding file."""
    embeddings = shifted_embeddings()
    train = embeddings.train.select(embeddings.train.label != 3)
    write_embeddings(folder / "data.safetensors", replace(embeddings, train=train))


def without_validation(folder: Path) -> None:
    """Take the validation rows out of the embedding file."""
    write_embeddings(folder / "data.safetensors", shifted_embeddings(with_val=False))


def cut(name: str) -> Callable[[Path], None]:
    """Cut a file in half."""

    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    """Remove a file, or a folder with all that is in it."""

    def spoil(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return spoil


def empty_class(folder: Path) -> None:
    """Empty a class folder."""
    for path in (folder / "images/photo/dog").iterdir():
        path.unlink()


def spoil_images(folder: Path) -> None:
    """Cut one image, and put text in another."""
    cut("images/photo/cat/0.png")(folder)
    (folder / "images/sketch/dog/2.png").write_text("no image")


CASES = {
    # Names
    "unknown trainer": Case(("unknown trainer 'LAER': did you mean 'LARE'?",), "--trainer LAER"),
    "unknown dataset": Case(
        ("unknown dataset 'EmbedingFile': did you mean 'EmbeddingFile'?",), keys="DATASET.NAME EmbedingFile"
    ),
    "no dataset": Case(("no dataset named: give --dataset-config-file",), keys="DATASET.NAME ''"),
    "unknown key": Case(
        ("command line: unknown config key 'OPTIM.LRR': did you mean 'OPTIM.LR'?",), keys="OPTIM.LRR 1"
    ),
    "unknown section": Case(("'OPTIMISER.LR': did you mean 'OPTIM.LR'?",), keys="OPTIMISER.LR 1"),
    "unknown key in a file": Case(
        ("{tmp}/data.yaml: unknown config key 'TRAINER.LARE.ALPA': did you mean 'TRAINER.LARE.ALPHA'?",),
        "--config-file {tmp}/data.yaml",
        spoil=write("data.yaml", "TRAINER: {LARE: {ALPA: 0.5}}\n"),
    ),
    "unknown domain": Case(
        ("'skech': did you mean 'sketch'?", "painting"), "--source-domains photo --target-domains skech"
    ),
    "unknown source domain": Case(
        ("--source-domains", "'foto': did you mean 'photo'?"), "--source-domains foto", images=True
    ),
    "unknown target domain": Case(
        ("--target-domains", "'skech': did you mean 'sketch'?"), "--target-domains skech", images=True
    ),
    "a domain both source and target": Case(
        ("domain 'photo' is both source and target",), "--target-domains photo", images=True
    ),
    "unknown model": Case(
        ("MODEL.BACKBONE.NAME", "'ViT-B-31': did you mean 'ViT-B-32'?"), "--backbone ViT-B-31", images=True
    ),
    "a model folder without name": Case(("MODEL.BACKBONE.NAME 'local-dir:'",), "--backbone local-dir:", images=True),
    "unknown tag of weights": Case(
        ("VLM.PRETRAINED", "'openia': did you mean 'openai'?"),
        "--backbone ViT-B-32",
        "VLM.PRETRAINED openia",
        images=True,
    ),
    "unknown optimiser": Case(("OPTIM.NAME", "adamv", "adamw"), keys="OPTIM.NAME adamv"),
    "unknown plugin": Case(("--plugin no_such_plugin cannot be imported",), "--plugin no_such_plugin"),
    # Values
    "a value of another type": Case(
        ("OPTIM.MAX_EPOCH takes a value of type int, not 'many'",), keys="OPTIM.MAX_EPOCH many"
    ),
    "a value that is no choice": Case(
        ("CLASSIFIER.INIT must be one of random, text, not 'txt'",), keys="CLASSIFIER.INIT txt"
    ),
    "keys taken in by a list of domains": Case(
        ("--target-domains takes in 'OPTIM.MAX_EPOCH'", "--seed 0"), "--target-domains night OPTIM.MAX_EPOCH 2"
    ),
    "a value out of range": Case(
        ("command line: TRAINER.LARE.ALPHA must lie in [0, 1], not 7.0",), keys="TRAINER.LARE.ALPHA 7"
    ),
    "a momentum out of range": Case(
        ("OPTIM.MOMENTUM must lie in [0, 1), not -1.0",), "--trainer FineTune", "OPTIM.NAME sgd OPTIM.MOMENTUM -1"
    ),
    "a seed too large": Case(("--seed: SEED must be at most 4294967295, not 4294967296",), "--seed 4294967296"),
    "a key without value": Case(("'OPTIM.LR' has no partner",), keys="OPTIM.LR"),
    "a prompt without class name": Case(
        ("VLM.TEMPLATES: 'photo' has no {{}}",), keys="VLM.TEMPLATES \"['photo']\"", images=True
    ),
    "a prompt that is a number": Case(("VLM.TEMPLATES: '1' has no {{}}",), keys="VLM.TEMPLATES [1]", images=True),
    "a learning rate that diverges": Case(
        ("the loss is ", "lower OPTIM.LR (1e+18)"),
        "--trainer FineTune",
        "OPTIM.LR 1e18 OPTIM.WEIGHT_DECAY 1e18 OPTIM.NAME sgd DATALOADER.TRAIN_X.BATCH_SIZE 8",
    ),
    # Missing and damaged files
    "missing folder": Case(("DATASET.ROOT '{tmp}/nowhere' does not exist",), "--root {tmp}/nowhere", images=True),
    "no folder": Case(("DATASET.ROOT '{tmp}/plain' is not a folder",), "--root {tmp}/plain", images=True),
    "no root": Case(("DATASET.ROOT is empty", "--root"), keys="DATASET.ROOT ''", images=True),
    "empty folder": Case(
        ("DATASET.ROOT '{tmp}/empty' has no <domain>/<class>/ folders",), "--root {tmp}/empty", images=True
    ),
    "missing embedding file": Case(
        ("no embedding file {tmp}/nowhere.safetensors", "--root"), "--root {tmp}/nowhere.safetensors"
    ),
    "a folder for an embedding file": Case(("no embedding file {tmp}/empty",), "--root {tmp}/empty"),
    "damaged embedding file": Case(
        ("{tmp}/data.safetensors is damaged or no safetensors file",), spoil=cut("data.safetensors")
    ),
    "no embedding file": Case(("{tmp}/plain is damaged or no safetensors file",), "--root {tmp}/plain"),
    "missing dataset config": Case(("no config file {tmp}/no.yaml",), "--dataset-config-file {tmp}/no.yaml"),
    "missing config": Case(("no config file {tmp}/no.yaml",), "--config-file {tmp}/no.yaml"),
    "config that is no YAML": Case(
        ("{tmp}/data.yaml is not valid YAML",), "--config-file {tmp}/data.yaml", spoil=write("data.yaml", "A: [1\nB: 2")
    ),
    "config that is a list": Case(
        ("{tmp}/data.yaml must hold keys and values",), "--config-file {tmp}/data.yaml", spoil=write("data.yaml", "- A")
    ),
    "missing split file": Case(
        ("DATASET.SPLIT_FILE '{tmp}/no.json'",), keys="DATASET.SPLIT_FILE {tmp}/no.json", images=True
    ),
    "split file with a missing image": Case(
        ("split file '{tmp}/split.json': there is no image 'photo/cat/99.png'",),
        keys="DATASET.SPLIT_FILE {tmp}/split.json",
        spoil=write("split.json", '{"train": ["photo/cat/99.png"]}'),
        images=True,
    ),
    "missing model folder": Case(
        ("model local-dir:{tmp}/nowhere: {tmp}/nowhere/open_clip_config.json is missing",),
        "--backbone local-dir:{tmp}/nowhere",
        images=True,
    ),
    "missing weights file": Case(
        ("VLM.PRETRAINED: no weights file {tmp}/no.safetensors",),
        "--backbone ViT-B-32",
        "VLM.PRETRAINED {tmp}/no.safetensors",
        images=True,
    ),
    "damaged weights": Case(
        ("weights {tmp}/plain do not load into model ViT-B-32",),
        "--backbone ViT-B-32",
        "VLM.PRETRAINED {tmp}/plain EMBEDDINGS.CACHE_DIR {tmp}/cache2",
        images=True,
    ),
    # Data
    "empty class": Case(("class folder '{tmp}/images/photo/dog' has no images",), spoil=empty_class, images=True),
    "a class without train rows": Case(("class 'owl' has no train row", "{tmp}/data.safetensors"), spoil=drop_class),
    "a class in one domain only": Case(
        ("class 'dog' is in domain 'photo' only, and missing in 'sketch'",),
        spoil=remove("images/sketch/dog"),
        images=True,
    ),
    "unreadable images": Case(
        ("2 of 24 images cannot be read", "{tmp}/images/photo/cat/0.png (", "{tmp}/images/sketch/dog/2.png ("),
        spoil=spoil_images,
        images=True,
    ),
    "a label too high": Case(
        ("embedding file {tmp}/data.safetensors: train/label must lie in [0, 5), got 0 to 5",),
        spoil=set_tensor("train/label", 3, 5),
    ),
    "a label below 0": Case(
        ("embedding file {tmp}/data.safetensors: test/label must lie in [0, 5), got -1 to 4",),
        spoil=set_tensor("test/label", 0, -1),
    ),
    "a domain too high": Case(
        ("embedding file {tmp}/data.safetensors: val/domain must lie in [0, 3), got 0 to 3",),
        spoil=set_tensor("val/domain", 1, 3),
    ),
    "NaN in an embedding file": Case(
        ("embedding file {tmp}/data.safetensors", "'train/image' row 7 is NaN, infinite or zero (1 such rows)"),
        spoil=set_tensor("train/image", 7, float("nan")),
    ),
    "an infinite class text": Case(
        ("embedding file {tmp}/data.safetensors", "'text/class' row 2 is NaN, infinite or zero"),
        spoil=set_tensor("text/class", 2, float("inf")),
    ),
    "more shots than rows": Case(
        ("DATASET.NUM_SHOTS is 9, but class 'cat' has 8 training images",), keys="DATASET.NUM_SHOTS 9"
    ),
    "more shots than images": Case(
        ("DATASET.NUM_SHOTS is 9, but class 'cat' has 4 training images",), keys="DATASET.NUM_SHOTS 9", images=True
    ),
    "a long tail that leaves a class empty": Case(
        ("DATASET.LONG_TAIL.RATIO 20 with DATASET.NUM_SHOTS -1 leaves class", "RATIO to 16 or less", "MIN_IMAGES 1"),
        keys="DATASET.LONG_TAIL.RATIO 20",
    ),
    "shots and a long tail that leave a class empty": Case(
        ("DATASET.LONG_TAIL.RATIO 5 with DATASET.NUM_SHOTS 2 leaves class", "to 4 or less, raise DATASET.NUM_SHOTS"),
        keys="DATASET.NUM_SHOTS 2 DATASET.LONG_TAIL.RATIO 5",
        images=True,
    ),
    "a ratio below 1": Case(
        ("DATASET.LONG_TAIL.RATIO must be at least 1, not 0.5",), keys="DATASET.LONG_TAIL.RATIO 0.5"
    ),
    "an unknown profile": Case(
        ("DATASET.LONG_TAIL.PROFILE must be one of exp, step, not 'linear'",), keys="DATASET.LONG_TAIL.PROFILE linear"
    ),
    "a prompts file that lacks a class": Case(
        ("VLM.PROMPTS_FILE '{tmp}/prompts.json' has no descriptions of dog (did you mean 'dogs'?)",),
        keys="VLM.PROMPTS_FILE {tmp}/prompts.json",
        spoil=write("prompts.json", '{"cat": ["it purrs"], "dogs": ["they bark"]}'),
        images=True,
    ),
    "a missing prompts file": Case(
        ("cannot read VLM.PROMPTS_FILE '{tmp}/no.json'",), keys="VLM.PROMPTS_FILE {tmp}/no.json", images=True
    ),
    "LADS without descriptions": Case(
        ("DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS are empty: LADS needs domain descriptions",),
        "--trainer LADS",
        images=True,
    ),
    "a description without class name": Case(
        ("DATASET.TARGET_PROMPTS.sketch: 'a sketch' has no {{}}",),
        "--trainer LADS",
        "DATASET.SOURCE_PROMPTS.photo 'a photo of a {{}}.' DATASET.TARGET_PROMPTS.sketch 'a sketch'",
        images=True,
    ),
    "LADS on an embedding file without descriptions": Case(
        ("embedding file {tmp}/data.safetensors has no text/domain: LADS needs domain descriptions",), "--trainer LADS"
    ),
    "no shots": Case(("DATASET.NUM_SHOTS must be at least 1, or -1, not 0",), keys="DATASET.NUM_SHOTS 0"),
    "no validation rows to select by": Case(
        ("TEST.FINAL_MODEL best_val needs a validation split",),
        keys="TEST.FINAL_MODEL best_val",
        spoil=without_validation,
    ),
    # Writing
    "an output folder that cannot be": Case(
        ("cannot write to {tmp}/plain/out (--output-dir)",), "--output-dir {tmp}/plain/out"
    ),
    "a log that is a folder": Case(
        ("cannot write the log {tmp}/out/log.txt: Is a directory",),
        spoil=lambda folder: (folder / "out" / "log.txt").mkdir(parents=True),
    ),
    "a tensorboard folder that is a file": Case(
        ("cannot write to {tmp}/out/tensorboard (--output-dir)",), spoil=write("out/tensorboard", "")
    ),
    "a damaged list of checkpoints": Case(
        ("{tmp}/out/model/checkpoint is damaged",), spoil=write_bytes("out/model/checkpoint", b"\xff\xfe\x00")
    ),
    "an output folder that is a file": Case(
        ("cannot write to {tmp}/plain (--output-dir)",), "--output-dir {tmp}/plain"
    ),
    "a cache folder that cannot be": Case(
        ("cannot write to {tmp}/plain/cache (EMBEDDINGS.CACHE_DIR)",),
        keys="EMBEDDINGS.CACHE_DIR {tmp}/plain/cache",
        images=True,
    ),
    # Checkpoints
    "testing a checkpoint of another model": Case(
        (
            "checkpoint {tmp}/image_run/model/model.pth.tar-2 is of another model (frozen model is ",
            "ViT-B-32 here)",
            "--model-dir",
        ),
        "--trainer FineTune --eval-only --model-dir {tmp}/image_run --output-dir ''",
    ),
    "testing for a record under other settings": Case(
        ("a record needs the settings of the training (DATASET.NAME is DomainFolders there and EmbeddingFile here in",),
        "--trainer FineTune --eval-only --model-dir {tmp}/image_run",
    ),
    "resuming a checkpoint of another model": Case(
        ("checkpoint {tmp}/image_run/model/model.pth.tar-2 is of another run (",),
        "--trainer FineTune --resume {tmp}/image_run",
    ),
    "a folder with a run of other settings": Case(
        ("checkpoint {tmp}/run/model/model.pth.tar-2 is of another run (OPTIM.LR is 0.03 there and 0.5 here)",),
        "--trainer FineTune --output-dir {tmp}/run",
        "OPTIM.LR 0.5",
    ),
    "a folder with a run of another seed": Case(
        ("{tmp}/run/model/model.pth.tar-2 is of another run (SEED is 0 there and 4 here)",),
        "--trainer FineTune --output-dir {tmp}/run --seed 4",
    ),
    "resuming from an empty folder": Case(
        ("--resume {tmp}/empty: there is no checkpoint in {tmp}/empty/model",), "--resume {tmp}/empty"
    ),
    "resuming from nowhere": Case(("--resume {tmp}/no: there is no checkpoint",), "--resume {tmp}/no"),
    "damaged checkpoint": Case(
        ("the checkpoint '{tmp}/run/model/model.pth.tar-2' cannot be read",),
        "--trainer FineTune --eval-only --model-dir {tmp}/run",
        spoil=cut("run/model/model.pth.tar-2"),
    ),
    "testing without a model": Case(("--eval-only needs --model-dir",), "--eval-only"),
    "testing an epoch that is not there": Case(
        ("no checkpoint at '{tmp}/run/model/model.pth.tar-9'", "--load-epoch"),
        "--trainer FineTune --eval-only --model-dir {tmp}/run --load-epoch 9",
    ),
    # Weights
    "random weights that were not asked for": Case(
        ("model ViT-B-32 has no weights", "laion2b_s34b_b79k", "VLM.ALLOW_RANDOM True"),
        "--backbone ViT-B-32",
        "VLM.ALLOW_RANDOM False",
        images=True,
    ),
    "a model folder without weights": Case(
        ("model local-dir:{tmp}/model: no .safetensors weights in {tmp}/model",),
        keys="VLM.ALLOW_RANDOM False",
        images=True,
    ),
    "no weights and no network": Case(
        (
            "no weights for ViT-B-32 (laion2b_s34b_b79k) in {tmp}/hub and no network to download them",
            "VLM.PRETRAINED to the path of a weights file",
        ),
        "--backbone ViT-B-32",
        "VLM.PRETRAINED laion2b_s34b_b79k",
        images=True,
    ),
    "no model named": Case(("no model named: give --backbone",), keys="MODEL.BACKBONE.NAME ''", images=True),
}
BY_SUBPROCESS = ("unknown trainer", "NaN in an embedding file")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a model for the two good commands, and with what they leave."""
    folder = tmp_path_factory.mktemp("world")
    write_embeddings(folder / "data.safetensors")
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog"], per_class=6)
    write_tiny_model(folder / "model")
    (folder / "plain").write_text("a file")
    (folder / "empty").mkdir()
    assert run_train(*Case((), "--trainer FineTune --output-dir {tmp}/run").words(folder)) == 0
    assert run_train(*Case((), "--output-dir {tmp}/image_run", images=True).words(folder)) == 0
    return folder


@pytest.fixture
def folder(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world, without network and without weights in any cache."""
    copy = tmp_path / "world"
    shutil.copytree(world, copy)
    monkeypatch.setattr(network, "reachable", lambda url: False)
    monkeypatch.setattr(vlm.weights, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(vlm.weights, "HF_HUB_CACHE", str(copy / "hub"))
    return copy


def contents(folder: Path) -> dict[Path, str]:
    """A hash of every file below a folder but those that grow."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in GROWING]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_line(case: Case, folder: Path, errors: str) -> None:
    """One line that names what is wrong, beside the progress bar of encoding."""
    lines = [
        line for line in errors.replace("\r", "\n").splitlines() if line and not line.startswith("encoding images")
    ]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    for part in case.says:
        assert part.format(tmp=folder) in lines[0]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_one_line_and_exit_code_2_and_nothing_is_lost(case, folder, capsys):
    case.spoil(folder)
    before = contents(folder)
    capsys.readouterr()
    assert run_train(*case.words(folder)) == 2
    check_line(case, folder, capsys.readouterr().err)
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before
    assert not (folder / "out" / "record.json").exists()


@pytest.mark.parametrize("name", BY_SUBPROCESS)
def test_it_is_the_same_from_a_shell(name, folder):
    case = CASES[name]
    case.spoil(folder)
    command = [sys.executable, str(ROOT / "tools" / "train.py"), *case.words(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=100, check=False)
    assert done.returncode == 2
    check_line(case, folder, done.stderr)
    assert "Traceback" not in done.stdout


def test_the_good_commands_are_good(folder):
    """So that it is the one mistake that each case fails by."""
    assert run_train(*Case(()).words(folder)) == 0
    shutil.rmtree(folder / "out")
    assert run_train(*Case((), images=True).words(folder)) == 0


def test_after_mending_unreadable_images_only_they_are_decoded(folder, capsys):
    shutil.rmtree(folder / "cache")
    good = (folder / "images/photo/cat/0.png").read_bytes()
    cut("images/photo/cat/0.png")(folder)
    command = Case((), images=True).words(folder)
    assert run_train(*command) == 2
    assert "1 of 24 images cannot be read" in capsys.readouterr().err
    (folder / "images/photo/cat/0.png").write_bytes(good)
    assert run_train(*command) == 0
    assert "embeddings: 24 images, 1 decoded now" in capsys.readouterr().out


def test_a_loss_that_diverges_late_keeps_earlier_checkpoints(folder, capsys, monkeypatch):
    real = torch.nn.functional.cross_entropy
    calls = []

    def diverging(*arguments, **keywords):
        calls.append(1)
        return real(*arguments, **keywords) * (float("nan") if len(calls) > 3 else 1.0)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", diverging)
    case = Case(("the loss is nan in epoch 4",), "--trainer FineTune", "OPTIM.MAX_EPOCH 6 TRAIN.CHECKPOINT_FREQ 2")
    assert run_train(*case.words(folder)) == 2
    check_line(case, folder, capsys.readouterr().err)
    assert (folder / "out" / "model" / "model.pth.tar-2").is_file()
