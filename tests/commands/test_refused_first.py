"""What the configuration shows is refused before data are read, and what the dataset shows before images."""

from __future__ import annotations

import shutil

import pytest

from lare_dassl.commands import train
from lare_dassl.encoding import build
from tests.helpers import make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_tiny_model


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_embeddings(folder / "data.safetensors", shifted_embeddings())
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    write_tiny_model(folder / "model")
    for name in ("FineTune", "LARE"):
        assert run_train(*on_file(folder, "--trainer", name, "--output-dir", folder / name)) == 0
    shutil.rmtree(folder / "LARE" / "model")
    return folder


def on_file(folder, *words):
    """A run on the embedding file, after which words may follow that are stronger."""
    flags, keys = split_words(words)
    small = ("OPTIM.MAX_EPOCH", 2, "TRAINER.LARE.EPOCHS", 2)
    root = ("--root", folder / "data.safetensors", "--seed", 0)
    return [*root, "--output-dir", folder / "out", *flags, "DATASET.NAME", "EmbeddingFile", *small, *keys]


def on_images(folder, *words):
    """A run on the tree of images."""
    flags, keys = split_words(words)
    model = ("--backbone", f"local-dir:{folder / 'model'}", "--root", folder / "images", "--output-dir", folder / "out")
    domains = ("--source-domains", "photo", "--target-domains", "sketch", "--seed", 0)
    data = ("DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", True, "EMBEDDINGS.CACHE_DIR", folder / "cache")
    return [*model, *domains, *flags, *data, *keys]


def split_words(words):
    """Flags, and the pairs behind "--"."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def refused(words, capsys):
    """The one line that a run ends in."""
    capsys.readouterr()
    assert run_train(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("error: ")


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.setattr(train, "carry_out", lambda *_: pytest.fail("data would have been read"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trainer", "FineTune", "--eval-only"), "--eval-only needs --model-dir, the folder of a finished run"),
        (
            ("--trainer", "FineTune", "--eval-only", "--model-dir", "{tmp}/FineTune", "--load-epoch", 9),
            "no checkpoint at '{tmp}/FineTune/model/model.pth.tar-9': check --model-dir and --load-epoch",
        ),
        (
            ("--trainer", "LARE", "--eval-only", "--model-dir", "{tmp}/FineTune"),
            "checkpoint {tmp}/FineTune/model/model.pth.tar-2 is of another model (trainer is FineTune there and LARE",
        ),
        (
            *(("--trainer", "FineTune", "--eval-only", "--model-dir", "{tmp}/FineTune", "--", "OPTIM.LR", 0.5),),
            "a record needs the settings of the training (OPTIM.LR is 0.03 there and 0.5 here in {tmp}/FineTune",
        ),
        (
            *(("--trainer", "FineTune", "--output-dir", "{tmp}/FineTune", "--", "OPTIM.LR", 0.5),),
            "checkpoint {tmp}/FineTune/model/model.pth.tar-2 is of another run (OPTIM.LR is 0.03 there and 0.5 here)",
        ),
        (
            ("--trainer", "FineTune", "--output-dir", "{tmp}/FineTune", "--", "OPTIM.MAX_EPOCH", 1),
            "checkpoint {tmp}/FineTune/model/model.pth.tar-2 is 2 epochs old, beyond OPTIM.MAX_EPOCH 1: give another",
        ),
        (
            ("--trainer", "LARE", "--output-dir", "{tmp}/LARE", "--", "TRAINER.LARE.ALPHA", 0.5),
            "checkpoint {tmp}/LARE/regions/model.pth.tar-2 is of another run (TRAINER.LARE.ALPHA is 0.3 there and 0.5",
        ),
        (("--trainer", "LARE", "--resume", "{tmp}/images"), "--resume {tmp}/images: there is no checkpoint in {tmp}"),
        (
            ("--trainer", "LARE", "--resume", "{tmp}/LARE", "--eval-only"),
            "--resume has no effect with --eval-only",
        ),
        (("--trainer", "LARE", "--no-train", "--eval-only"), "--no-train has no effect with --eval-only"),
        (("--trainer", "LARE", "--model-dir", "{tmp}/LARE"), "--model-dir has no effect without --eval-only"),
        (("--trainer", "LARE", "--load-epoch", 0), "--load-epoch has no effect without --eval-only"),
        (
            ("--trainer", "FineTune", "--", "OPTIM.WARMUP_EPOCH", 3),
            "OPTIM.WARMUP_EPOCH 3 is more than OPTIM.MAX_EPOCH 2: lower it",
        ),
        (
            ("--trainer", "FineTune", "--", "OPTIM.NAME", "adamv"),
            "unknown optimiser (OPTIM.NAME) 'adamv': did you mean",
        ),
        (
            ("--trainer", "FineTune", "--", "OPTIM.LR_SCHEDULER", "cosin"),
            "unknown schedule (OPTIM.LR_SCHEDULER) 'cosin': did you mean 'cosine'?",
        ),
        (
            ("--trainer", "FineTune", "--", "OPTIM.WARMUP_EPOCH", 1, "OPTIM.WARMUP_TYPE", "linar"),
            "unknown warm-up (OPTIM.WARMUP_TYPE) 'linar': did you mean 'linear'?",
        ),
        (
            ("--trainer", "FineTune", "--", "OPTIM.NAME", "sgd", "OPTIM.MOMENTUM", 0, "OPTIM.SGD_NESTEROV", True),
            "OPTIM.NAME sgd cannot be made from OPTIM: Nesterov momentum requires",
        ),
        (
            ("--trainer", "FineTune", "--", "OPTIM.STAGED_LR", True, "OPTIM.NEW_LAYERS", "x"),
            "OPTIM.STAGED_LR True needs several layers, but the classifier is one: leave it False",
        ),
        (
            ("--trainer", "FineTune", "--", "TEST.FINAL_MODEL", "best_val", "TEST.NO_TEST", True),
            "TEST.FINAL_MODEL best_val selects by tests, which TEST.NO_TEST leaves out: use last_step",
        ),
        (
            ("--trainer", "FineTune", "--", "TEST.EVALUATOR", "Clasification"),
            "unknown evaluator 'Clasification': did you mean 'Classification'?",
        ),
        (
            ("--trainer", "FineTune", "--", "DATASET.VAL_FRACTION", 0.6, "DATASET.TEST_FRACTION", 0.6),
            "DATASET.VAL_FRACTION 0.6 and DATASET.TEST_FRACTION 0.6 leave no training image: their sum must be below 1",
        ),
        (
            ("--trainer", "FineTune", "--", "VLM.PROMPTS_FILE", "no.json"),
            "VLM.PROMPTS_FILE has no effect on EmbeddingFile, which brings its texts: leave it out",
        ),
    ],
)
def test_before_data_are_read(world, no_data, capsys, words, message):
    words = [word.replace("{tmp}", str(world)) if isinstance(word, str) else word for word in words]
    assert refused(on_file(world, *words), capsys).startswith(message.replace("{tmp}", str(world)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--trainer", "FineTune", "--backbone", "ViT-B-31"),
            "unknown model (MODEL.BACKBONE.NAME) 'ViT-B-31': did you mean 'ViT-B-32'?",
        ),
        (
            ("--trainer", "FineTune", "--backbone", "ViT-B-32", "--", "VLM.PRETRAINED", "openia"),
            "unknown VLM.PRETRAINED tag of ViT-B-32 (or a file) 'openia': did you mean 'openai'?",
        ),
        (("--trainer", "FineTune", "--", "VLM.TEMPLATES", "a photo"), "VLM.TEMPLATES: 'a photo' has no {}"),
        (("--trainer", "FineTune", "--", "VLM.PROMPTS_FILE", "no.json"), "cannot read VLM.PROMPTS_FILE 'no.json'"),
        (("--trainer", "LADS"), "DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS are empty: LADS needs"),
    ],
)
def test_before_folders_are_searched(world, no_data, capsys, words, message):
    assert refused(on_images(world, *words), capsys).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--trainer", "FineTune", "--", "TEST.FINAL_MODEL", "best_val", "DATASET.VAL_FRACTION", 0),
            "TEST.FINAL_MODEL best_val needs a validation split, which this dataset lacks: use last_step",
        ),
        (
            ("--trainer", "FineTune", "--", "CLASSIFIER.AVERAGE", "val", "DATASET.VAL_FRACTION", 0),
            "CLASSIFIER.AVERAGE val needs a validation split, which this dataset lacks: give a weight in [0, 1]",
        ),
        (
            ("--trainer", "FineTune", "--", "TEST.SPLIT", "val", "DATASET.VAL_FRACTION", 0),
            "TEST.SPLIT val needs a validation split, which this dataset lacks: use test",
        ),
        (
            ("--trainer", "TipAdapter", "--", "DATASET.VAL_FRACTION", 0),
            "TRAINER.TIPADAPTER.ALPHA 0 needs a validation split, which this dataset lacks: give a value",
        ),
        (
            ("--trainer", "FineTune", "--", "DATASET.NUM_SHOTS", 99),
            "DATASET.NUM_SHOTS is 99, but class 'cat' has 7 training images",
        ),
        (
            ("--trainer", "FineTune", "--source-domains", "photo", "sketch", "--target-domains", "sketch", "--seed", 0),
            "domain 'sketch' is both source and target: take it out of --source-domains",
        ),
        (
            ("--trainer", "FineTune", "--source-domains", "photo", "photo", "--seed", 0),
            "source domain (--source-domains) 'photo' is given twice: name it once",
        ),
    ],
)
def test_before_an_image_is_read(world, monkeypatch, capsys, words, message):
    monkeypatch.setattr(build, "build_encoder", lambda cfg: pytest.fail("images would have been read"))
    assert refused(on_images(world, *words), capsys).startswith(message)


def test_what_the_cases_start_from_is_right(world, capsys):
    assert run_train(*on_images(world, "--trainer", "FineTune", "--", "OPTIM.MAX_EPOCH", 1)) == 0
    assert run_train(*on_file(world, "--trainer", "LARE", "--output-dir", world / "LARE")) == 0
    tested = ("--trainer", "FineTune", "--eval-only", "--model-dir", world / "FineTune", "--load-epoch", 2)
    assert run_train(*on_file(world, *tested)) == 0
