"""Everything that a user may get wrong: one line on standard error, exit code 2, and nothing lost.

A mistake that the configuration shows is refused before data are read, one that the dataset shows before any image is.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.commands import train
from lare_dassl.encoding import build
from lare_dassl.system import network
from tests.helpers import make_domain_tree, run_train, write_embeddings, write_tiny_model

ROOT = Path(__file__).parents[2]
# Files that a command may add to: the log, and the table that only saves hashing.
GROWING = ("log.txt", "files.sqlite")

# Flags and keys of two good commands, on an embedding file and on images.
GOOD = {
    "file": (
        "--trainer LARE --seed 0 --root {tmp}/data.safetensors --output-dir {tmp}/out",
        "DATASET.NAME EmbeddingFile OPTIM.MAX_EPOCH 2 TRAINER.LARE.EPOCHS 2",
    ),
    "images": (
        "--trainer FineTune --seed 0 --root {tmp}/images --output-dir {tmp}/out --backbone local-dir:{tmp}/model "
        "--source-domains photo --target-domains sketch",
        "DATASET.NAME DomainFolders OPTIM.MAX_EPOCH 2 VLM.ALLOW_RANDOM True VLM.PRECISION fp32 "
        "EMBEDDINGS.CACHE_DIR {tmp}/cache DATALOADER.NUM_WORKERS 0",
    ),
}

# Flags and then keys that are added to a good command, and what the line says; "…" stands for any text.
Case = tuple[str, str]
ON_FILE: list[Case] = [
    # Names
    ("--trainer LAER", "unknown trainer 'LAER': did you mean 'LARE'? known: …CLIPAdapter…CrossModal"),
    ("--trainer ''", "no trainer named: give --trainer; known: …CLIPAdapter"),
    ("--source-domains art DATASET.NAME CUBPainting", "unknown domain of CUBPainting 'art': …known: painting, photo"),
    ("DATASET.NAME EmbedingFile", "unknown dataset 'EmbedingFile': did you mean 'EmbeddingFile'?"),
    ("DATASET.NAME ''", "no dataset named: give --dataset-config-file; known: "),
    ("OPTIM.NAME adamv", "unknown optimiser (OPTIM.NAME) 'adamv': did you mean"),
    ("OPTIM.LR_SCHEDULER cosin", "unknown schedule (OPTIM.LR_SCHEDULER) 'cosin': did you mean 'cosine'?"),
    ("OPTIM.WARMUP_EPOCH 1 OPTIM.WARMUP_TYPE linar", "(OPTIM.WARMUP_TYPE) 'linar': did you mean 'linear'?"),
    ("TEST.EVALUATOR Clasification", "unknown evaluator 'Clasification': did you mean 'Classification'?"),
    # Values
    ("TRAINER.LARE.ALPHA 7", "command line: TRAINER.LARE.ALPHA must lie in [0, 1], not 7.0"),
    ("--trainer FineTune OPTIM.NAME sgd OPTIM.MOMENTUM -1", "OPTIM.MOMENTUM must lie in [0, 1), not -1.0"),
    ("--seed 4294967296", "--seed: SEED must be at most 4294967295, not 4294967296"),
    ("DATASET.NUM_SHOTS 0", "DATASET.NUM_SHOTS must be at least 1, or -1, not 0"),
    ("DATASET.LONG_TAIL.RATIO 0.5", "DATASET.LONG_TAIL.RATIO must be at least 1, not 0.5"),
    ("--target-domains night 'OPTIM.MAX_EPOCH' 2", "--target-domains takes in 'OPTIM.MAX_EPOCH'…--seed 0"),
    # Values that contradict each other
    ("OPTIM.WARMUP_EPOCH 3", "OPTIM.WARMUP_EPOCH 3 is more than OPTIM.MAX_EPOCH 2: lower it"),
    ("OPTIM.NAME sgd OPTIM.MOMENTUM 0 OPTIM.SGD_NESTEROV True", "sgd cannot be made from OPTIM: Nesterov"),
    ("OPTIM.STAGED_LR True", "OPTIM.STAGED_LR True needs several layers, but the classifier is one: leave it"),
    ("TEST.FINAL_MODEL best_val TEST.NO_TEST True", "TEST.FINAL_MODEL best_val selects by tests, which TEST.NO_TE"),
    ("DATASET.VAL_FRACTION 0.6 DATASET.TEST_FRACTION 0.6", "leave no training image: their sum must be below 1"),
    ("VLM.PROMPTS_FILE no.json", "VLM.PROMPTS_FILE has no effect on EmbeddingFile, which brings its texts: leave"),
    ("--resume {tmp}/run --eval-only", "--resume has no effect with --eval-only"),
    ("--no-train --eval-only", "--no-train has no effect with --eval-only"),
    ("--model-dir {tmp}/run", "--model-dir has no effect without --eval-only"),
    ("--load-epoch 0", "--load-epoch has no effect without --eval-only"),
    # Files
    ("--dataset-config-file {tmp}/no.yaml", "no config file {tmp}/no.yaml"),
    # Checkpoints
    ("--trainer FineTune --eval-only --model-dir {tmp}/image_run", "a record needs …(DATASET.NAME is DomainFolders"),
    ("--trainer LARE --eval-only --model-dir {tmp}/run", "is of another model (trainer is FineTune there and LARE"),
    ("--trainer FineTune --resume {tmp}/image_run", "{tmp}/image_run/model/model.pth.tar-2 is of another run ("),
    ("--trainer FineTune --output-dir {tmp}/run OPTIM.LR 0.5", "of another run (OPTIM.LR is 0.03 there"),
    ("--trainer FineTune --output-dir {tmp}/run --seed 4", "is of another run (SEED is 0 there and 4 here)"),
    ("--trainer FineTune --output-dir {tmp}/run OPTIM.MAX_EPOCH 1", "is 2 epochs old, beyond OPTIM.MAX_EPOCH 1: give"),
    ("--output-dir {tmp}/lare_run TRAINER.LARE.ALPHA 0.5", "regions/model.pth.tar-2 is …(TRAINER.LARE.ALPHA is 0.3"),
    ("--resume {tmp}/empty", "--resume {tmp}/empty: there is no checkpoint in {tmp}/empty/model"),
    ("--resume {tmp}/no", "--resume {tmp}/no: there is no checkpoint"),
    ("--eval-only", "--eval-only needs --model-dir, the folder of a finished run"),
    ("--eval-only --model-dir {tmp}/gone", "--model-dir {tmp}/gone: there is no such folder"),
    ("--trainer FineTune --eval-only --model-dir {tmp}/run --load-epoch 9", "no checkpoint at …tar-9'…--load-epoch"),
]
ON_IMAGES: list[Case] = [
    ("--backbone ViT-B-31", "unknown model (MODEL.BACKBONE.NAME) 'ViT-B-31': did you mean 'ViT-B-32'?"),
    ("--backbone local-dir:", "MODEL.BACKBONE.NAME 'local-dir:'"),
    ("MODEL.BACKBONE.NAME ''", "no model named: give --backbone"),
    ("--backbone ViT-B-32 VLM.PRETRAINED openia", "unknown VLM.PRETRAINED tag …'openia': did you mean 'openai'?"),
    ("--backbone ViT-B-32 VLM.PRETRAINED {tmp}/no.safetensors", "no weights file {tmp}/no.safetensors"),
    ("VLM.TEMPLATES \"['photo']\"", "VLM.TEMPLATES: 'photo' has no {}"),
    ("VLM.PROMPTS_FILE {tmp}/no.json", "cannot read VLM.PROMPTS_FILE '{tmp}/no.json'"),
    ("--trainer LADS", "DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS are empty: LADS needs domain descripti"),
    (
        "--trainer LADS DATASET.SOURCE_PROMPTS.photo 'a photo of a {}.' DATASET.TARGET_PROMPTS.sketch 'a sketch'",
        "DATASET.TARGET_PROMPTS.sketch: 'a sketch' has no {}",
    ),
]
# The dataset shows these, and no image is opened for it.
OF_THE_DATASET: list[Case] = [
    ("--source-domains foto", "(--source-domains) 'foto': did you mean 'photo'?"),
    ("--target-domains skech", "(--target-domains) 'skech': did you mean 'sketch'?"),
    ("--target-domains photo", "domain 'photo' is both source and target: take it out of --source-domains"),
    ("--source-domains photo photo", "source domain (--source-domains) 'photo' is given twice: name it once"),
    ("--root {tmp}/nowhere", "DATASET.ROOT '{tmp}/nowhere' does not exist"),
    ("--root {tmp}/plain", "DATASET.ROOT '{tmp}/plain' is not a folder"),
    ("DATASET.SPLIT_FILE {tmp}/no.json", "DATASET.SPLIT_FILE '{tmp}/no.json'"),
    ("DATASET.NUM_SHOTS 9", "DATASET.NUM_SHOTS is 9, but class 'cat' has 4 training images"),
    ("DATASET.NUM_SHOTS 2 DATASET.LONG_TAIL.RATIO 5", "RATIO 5 with …NUM_SHOTS 2 leaves class…to 4 or less"),
    ("TEST.FINAL_MODEL best_val DATASET.VAL_FRACTION 0", "best_val needs a validation split…use last_step"),
    ("CLASSIFIER.AVERAGE val DATASET.VAL_FRACTION 0", "CLASSIFIER.AVERAGE val needs…give a weight in [0, 1]"),
    ("TEST.SPLIT val DATASET.VAL_FRACTION 0", "TEST.SPLIT val needs a validation split, …lacks: use test"),
    ("--trainer TipAdapter DATASET.VAL_FRACTION 0", "TRAINER.TIPADAPTER.ALPHA 0 needs …lacks: give a value"),
]
# The embedding file, the weights or the training show these.
LATER_ON_FILE: list[Case] = [
    ("--source-domains photo --target-domains skech", "'skech': did you mean 'sketch'?…painting"),
    ("--root {tmp}/nowhere.safetensors", "no embedding file {tmp}/nowhere.safetensors…--root"),
    ("DATASET.LONG_TAIL.RATIO 20", "RATIO 20 with …NUM_SHOTS -1 leaves class…to 16 or less…MIN_IMAGES 1"),
    ("--trainer LADS", "embedding file {tmp}/data.safetensors has no text/domain: LADS needs domain descriptions"),
    ("--output-dir {tmp}/plain/out", "cannot write to {tmp}/plain/out (--output-dir)"),
    ("--output-dir {tmp}/plain", "cannot write to {tmp}/plain (--output-dir)"),
    ("--trainer FineTune --eval-only --model-dir {tmp}/image_run --output-dir ''", "another model (frozen model is"),
    (
        "--trainer FineTune OPTIM.LR 1e18 OPTIM.WEIGHT_DECAY 1e18 OPTIM.NAME sgd DATALOADER.TRAIN_X.BATCH_SIZE 8",
        "the loss is …lower OPTIM.LR (1e+18)",
    ),
]
LATER_ON_IMAGES: list[Case] = [
    ("--backbone local-dir:{tmp}/no", "model local-dir:{tmp}/no: {tmp}/no/open_clip_config.json is missing"),
    (
        "--backbone ViT-B-32 VLM.PRETRAINED {tmp}/plain EMBEDDINGS.CACHE_DIR {tmp}/cache2",
        "weights {tmp}/plain do not load into model ViT-B-32",
    ),
    ("EMBEDDINGS.CACHE_DIR {tmp}/plain/cache", "cannot write to {tmp}/plain/cache (EMBEDDINGS.CACHE_DIR)"),
    ("--backbone ViT-B-32 VLM.ALLOW_RANDOM False", "ViT-B-32 has no weights…laion2b_s34b_b79k…ALLOW_RANDOM True"),
    ("VLM.ALLOW_RANDOM False", "model local-dir:{tmp}/model: no .safetensors weights in {tmp}/model"),
    ("--backbone ViT-B-32 VLM.PRETRAINED laion2b_s34b_b79k", "no weights for …in {tmp}/hub and no network…PRETRAINED"),
]

Spoil = Callable[[Path], object]


def write(name: str, content: bytes) -> Spoil:
    """Write a file, with the folders above it."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def cut(name: str) -> Spoil:
    """Cut a file in half."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


# World, a file that is spoilt in it, flags and keys that are added, and what the line says.
SPOILT: list[tuple[str, Spoil, str, str]] = [
    ("file", write("out/tensorboard", b""), "", "cannot write to {tmp}/out/tensorboard (--output-dir)"),
    ("file", write("out/model/checkpoint", b"\xff\xfe\x00"), "", "{tmp}/out/model/checkpoint is damaged"),
    (
        "file",
        cut("run/model/model.pth.tar-2"),
        "--trainer FineTune --eval-only --model-dir {tmp}/run",
        "the checkpoint '{tmp}/run/model/model.pth.tar-2' cannot be read",
    ),
    (
        "images",
        write("split.json", b'{"train": ["photo/cat/99.png"]}'),
        "DATASET.SPLIT_FILE {tmp}/split.json",
        "split.json': there is no image 'photo/cat/99.png'",
    ),
    (
        "images",
        write("prompts.json", b'{"cat": ["it purrs"], "dogs": ["they bark"]}'),
        "VLM.PROMPTS_FILE {tmp}/prompts.json",
        "no descriptions of dog (did you mean 'dogs'?)",
    ),
]


def words_of(folder: Path, world: str, added: str = "") -> list[str]:
    """A good command line with flags, and then keys, added, which are stronger."""
    flags, keys = re.split(r"(?<!\S)(?=[A-Z]+\.)|$", added, maxsplit=1)
    good_flags, good_keys = GOOD[world]
    # The empty --head ends a list of domains, which would take in the keys.
    words = shlex.split(f"{good_flags} {flags} --head '' {good_keys} {keys}")
    return [word.replace("{tmp}", str(folder)) for word in words]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a model for the two good commands, and with what they leave."""
    folder = tmp_path_factory.mktemp("world")
    write_embeddings(folder / "data.safetensors")
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog"], per_class=6)
    write_tiny_model(folder / "model")
    (folder / "plain").write_text("a file")
    (folder / "empty").mkdir()
    assert run_train(*words_of(folder, "file", "--trainer FineTune --output-dir {tmp}/run")) == 0
    assert run_train(*words_of(folder, "file", "--output-dir {tmp}/lare_run")) == 0
    shutil.rmtree(folder / "lare_run" / "model")
    assert run_train(*words_of(folder, "images", "--output-dir {tmp}/image_run")) == 0
    return folder


@pytest.fixture
def folder(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world, without network and without weights in any cache."""
    copy = shutil.copytree(world, tmp_path / "world")
    monkeypatch.setattr(network, "reachable", lambda url: False)
    monkeypatch.setattr(vlm.weights, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(vlm.weights, "HF_HUB_CACHE", str(copy / "hub"))
    return copy


def contents(folder: Path) -> dict[Path, str]:
    """A hash of every file below a folder but those that grow."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in GROWING]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_line(says: str, folder: Path, errors: str) -> None:
    """One line that says what is wrong, beside the progress bar of encoding."""
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line]
    (line,) = (line for line in lines if not line.startswith("encoding images"))
    assert line.startswith("error: ")
    assert [part for part in says.replace("{tmp}", str(folder)).split("…") if part not in line] == []


def check_refused(folder: Path, capsys: pytest.CaptureFixture[str], world_of: str, added: str, says: str) -> None:
    """A good command with a mistake ends in one line with exit code 2, and everything is as it was."""
    before = contents(folder)
    capsys.readouterr()
    assert run_train(*words_of(folder, world_of, added)) == 2
    check_line(says, folder, capsys.readouterr().err)
    after = contents(folder)
    assert {path: after.get(path) for path in before} == before
    assert not (folder / "out" / "record.json").exists()


def on(world_of: str, cases: list[Case]) -> list[tuple[str, str, str]]:
    """Cases with their world."""
    return [(world_of, *case) for case in cases]


@pytest.mark.parametrize("case", on("file", ON_FILE) + on("images", ON_IMAGES))
def test_before_data_are_read(folder, capsys, monkeypatch, case):
    monkeypatch.setattr(train, "carry_out", lambda *_: pytest.fail("data would have been read"))
    check_refused(folder, capsys, *case)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("case", OF_THE_DATASET)
def test_before_an_image_is_read(folder, capsys, monkeypatch, case):
    monkeypatch.setattr(build, "build_encoder", lambda cfg: pytest.fail("images would have been read"))
    check_refused(folder, capsys, "images", *case)


@pytest.mark.parametrize("case", on("file", LATER_ON_FILE) + on("images", LATER_ON_IMAGES))
def test_later(folder, capsys, case):
    check_refused(folder, capsys, *case)


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_files(folder, capsys, case):
    world_of, spoil, added, says = case
    spoil(folder)
    check_refused(folder, capsys, world_of, added, says)


def test_it_is_the_same_from_a_shell(folder):
    cut("data.safetensors")(folder)
    command = [sys.executable, str(ROOT / "tools" / "train.py"), *words_of(folder, "file")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=100, check=False)
    assert done.returncode == 2
    check_line("{tmp}/data.safetensors is damaged or no safetensors file", folder, done.stderr)
    assert "Traceback" not in done.stdout


def test_the_good_commands_are_good(folder):
    """So that it is the one mistake that each case fails by."""
    for world_of in GOOD:
        assert run_train(*words_of(folder, world_of)) == 0
        shutil.rmtree(folder / "out")
    assert run_train(*words_of(folder, "file", "--output-dir {tmp}/lare_run")) == 0
    tested = "--trainer FineTune --eval-only --model-dir {tmp}/run --load-epoch 2"
    assert run_train(*words_of(folder, "file", tested)) == 0


def test_after_mending_unreadable_images_only_they_are_decoded(folder, capsys):
    shutil.rmtree(folder / "cache")
    good = (folder / "images/photo/cat/0.png").read_bytes()
    cut("images/photo/cat/0.png")(folder)
    assert run_train(*words_of(folder, "images")) == 2
    assert "1 of 24 images cannot be read" in capsys.readouterr().err
    (folder / "images/photo/cat/0.png").write_bytes(good)
    assert run_train(*words_of(folder, "images")) == 0
    assert "embeddings: 24 images, 1 decoded now" in capsys.readouterr().out


def test_a_loss_that_diverges_late_keeps_earlier_checkpoints(folder, capsys, monkeypatch):
    real = torch.nn.functional.cross_entropy
    calls = []

    def diverging(*arguments, **keywords):
        calls.append(1)
        return real(*arguments, **keywords) * (float("nan") if len(calls) > 3 else 1.0)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", diverging)
    added = "--trainer FineTune OPTIM.MAX_EPOCH 6 TRAIN.CHECKPOINT_FREQ 2"
    check_refused(folder, capsys, "file", added, "the loss is nan in epoch 4")
    assert (folder / "out" / "model" / "model.pth.tar-2").is_file()
