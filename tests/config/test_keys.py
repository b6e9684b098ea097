from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lare_dassl.config import keys, keys_page, merging
from lare_dassl.config.key import IMAGES
from lare_dassl.config.keys import KEYS, TABLE
from lare_dassl.errors import InputError

DEFAULTS = dict(merging.leaf_keys(merging.new_config()))
EFFECTS = {"data", "encoding", "training", "evaluation", "speed", "place", "nothing"}
READERS = {"every run", "trainers on embeddings", "trainers on images", "the encoder", "datasets of lare_dassl"}
READERS |= {"other datasets"}
FLOATS = sorted(name for name, value in DEFAULTS.items() if isinstance(value, float))
WHOLE = sorted(name for name, value in DEFAULTS.items() if type(value) is int)
CHOICES = sorted(name for name, row in KEYS.items() if row.allowed.choices)
# Those of Dassl with any number for trainers on images.
UNBOUNDED = {"VERSION", "DATASET.STL10_FOLD", "DATASET.CIFAR_C_LEVEL"}


def changed(*words):
    cfg = merging.new_config()
    merging.merge_overrides(cfg, [str(word) for word in words])
    return cfg


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_row_is_whole_and_its_default_allowed(row):
    assert row.help and row.help[0] != " " and not row.help.endswith(".")
    assert row.source
    assert row.affects and set(row.affects) <= EFFECTS
    assert row.readers and set(row.readers) <= READERS
    assert row.allowed.fault(row.default) == ""
    if row.on_embeddings is not None:
        assert row.allowed.fault(row.on_embeddings) == "" and type(row.on_embeddings) is type(row.default)
    first = row.default[0] if isinstance(row.default, list | tuple) and row.default else row.default
    number = isinstance(first, int | float) and not isinstance(first, bool)
    if number and row.readers != IMAGES and row.name not in UNBOUNDED:
        assert row.allowed.least > -math.inf, "give it a range"
    assert row.help in keys.help_of(row.name)


def test_a_key_has_one_row_and_the_configuration_has_all_of_them():
    assert len(KEYS) == len(TABLE)
    assert DEFAULTS.keys() == KEYS.keys()
    assert {name: (value, type(value)) for name, value in DEFAULTS.items() if not KEYS[name].entries} == {
        row.name: (row.default, type(row.default)) for row in TABLE if not row.entries
    }


@pytest.mark.parametrize("key", FLOATS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_no_number_is_nan_or_infinite(key, text):
    with pytest.raises(InputError, match=rf"^here: {key} must be a finite number, not -?(nan|inf)$"):
        merging.merge_key(merging.new_config(), key, text, "here")


@pytest.mark.parametrize("key", WHOLE)
def test_no_whole_number_is_beyond_what_fits(key):
    with pytest.raises(InputError, match=rf"^here: {key} must (be at most \d+|lie in .*), not 1{{100}}$"):
        merging.merge_key(merging.new_config(), key, int("1" * 100), "here")


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_takes_its_values_and_no_other(key):
    choices = KEYS[key].allowed.choices
    assert [dict(keys.leaf_keys(changed(key, value)))[key] for value in choices] == list(choices)
    with pytest.raises(InputError) as error:
        merging.merge_key(merging.new_config(), key, "nothing", "my.yaml")
    assert str(error.value) == f"my.yaml: {key} must be one of {', '.join(choices)}, not 'nothing'"


def test_keys_of_plugins_may_hold_what_they_like():
    cfg = merging.new_config()
    cfg.TRAINER.MINE = type(cfg)({"CAP": 1.0, "COUNT": 1})
    merging.merge_overrides(cfg, ["TRAINER.MINE.CAP", "inf", "TRAINER.MINE.COUNT", str(2**40)])
    assert (math.inf, 2**40) == (cfg.TRAINER.MINE.CAP, cfg.TRAINER.MINE.COUNT)
    assert keys.run_settings(cfg)["TRAINER.MINE.COUNT"] == keys.cell_settings(cfg)["TRAINER.MINE.COUNT"] == str(2**40)


# Another value; then: is it another run, another cell of a benchmark, another setting in tables, another encoding?
KINDS = {
    "OUTPUT_DIR": ("x", False, False, False, False),
    "DATASET.ROOT": ("x", False, False, False, True),
    "DATALOADER.NUM_WORKERS": (0, False, False, False, True),
    "TRAIN.CHECKPOINT_FREQ": (5, False, False, False, True),
    "TRAIN.PRINT_FREQ": (5, False, False, False, False),
    "SEED": (3, True, False, False, False),
    "TRAINER.NAME": ("LARE", True, True, False, False),
    "DATASET.NAME": ("DemoWorld", True, True, False, True),
    "DATASET.NUM_SHOTS": (4, True, True, False, False),
    "DATASET.TARGET_DOMAINS": ("['x']", True, True, True, True),
    "DATASET.ALLOW_PARTIAL": (True, False, True, True, True),
    "DATASET.EXPECTED_IMAGES.photo": (3, False, True, True, True),
    "DATASET.TARGET_PROMPTS.photo": ("a {}", False, True, True, True),
    "DATASET.BAD_IMAGES": ("skip", False, False, False, False),
    "VLM.PRECISION": ("fp32", True, True, True, True),
    "VLM.PROMPTS_FILE": ("x", False, True, True, True),
    "OPTIM.LR": (0.5, True, True, True, False),
    "OPTIM.MAX_EPOCH": (7, False, True, True, False),
    "CLASSIFIER.AVERAGE": ("0.5", False, True, True, False),
    "TRAINER.LARE.ALPHA": (0.7, True, True, True, False),
    "TRAINER.LADS.TARGETS": ("['x']", False, True, True, False),
    "TEST.SPLIT": ("val", False, True, False, False),
    "TEST.FINAL_MODEL": ("best_val", True, True, True, False),
    "INPUT.SIZE": ("(8, 8)", False, True, True, False),
    "TRAIN.COUNT_ITER": ("train_u", False, True, True, False),
    "MODEL.INIT_WEIGHTS": ("x", False, True, True, False),
}


@pytest.mark.parametrize("key", KINDS)
def test_what_a_key_affects_decides_where_it_counts(key):
    value, *expected = KINDS[key]
    before, after = merging.new_config(), changed(key, value)
    views = (keys.run_settings, keys.cell_settings, keys.shown_settings, keys.encoding_settings)
    assert [view(before) != view(after) for view in views] == expected


def test_the_shape_of_a_long_tail_counts_only_where_there_is_one():
    step = ("DATASET.LONG_TAIL.PROFILE", "step")
    assert keys.cell_settings(changed(*step)) == keys.cell_settings(merging.new_config())
    tail = ("DATASET.LONG_TAIL.RATIO", 10)
    assert keys.cell_settings(changed(*tail, *step)) != keys.cell_settings(changed(*tail))


def test_a_record_gives_the_settings_of_its_configuration():
    cfg = changed("DATASET.EXPECTED_IMAGES.photo", 3)
    assert keys.cell_settings(json.loads(json.dumps(cfg))).keys() == keys.cell_settings(cfg).keys()


def test_a_model_may_be_tested_with_another_seed_and_on_other_domains():
    free = [name for name in KEYS if keys.free_in_tests(name) and keys.tells_runs_apart(name)]
    assert free == ["SEED", "DATASET.TARGET_DOMAINS"]


SILENT = {
    "MODEL.INIT_WEIGHTS": "x.pth",
    "DATASET.VAL_PERCENT": 0.3,
    "DATASET.NUM_LABELED": 5,
    "DATALOADER.TRAIN_X.SAMPLER": "SequentialSampler",
    "DATASET.SUBSAMPLE_CLASSES": "base",
}


def unread(*words, on_embeddings=True, our_dataset=True, brings_embeddings=False, ignored=()):
    readers = keys.readers_of(on_embeddings=on_embeddings, our_dataset=our_dataset, brings_embeddings=brings_embeddings)
    return keys.unread(changed(*words), readers, ignored)


@pytest.mark.parametrize("key", SILENT)
def test_a_key_of_dassls_that_nothing_reads_is_found(key):
    assert unread(key, SILENT[key]) == [key]
    assert unread(key, DEFAULTS[key]) == []


def test_trainers_on_images_and_other_datasets_read_dassls_keys():
    words = [word for pair in SILENT.items() for word in pair]
    assert unread(*words, on_embeddings=False, our_dataset=False) == []
    assert unread(*words, our_dataset=False) == ["DATALOADER.TRAIN_X.SAMPLER", "MODEL.INIT_WEIGHTS"]


def test_an_embedding_file_needs_no_encoder():
    words = ("MODEL.BACKBONE.NAME", "ViT-B-32", "EMBEDDINGS.BATCH_SIZE", 8)
    assert unread(*words) == []
    assert unread(*words, brings_embeddings=True) == ["MODEL.BACKBONE.NAME", "EMBEDDINGS.BATCH_SIZE"]


def test_where_nothing_is_trained_no_key_of_training_is_read():
    words = ("OPTIM.LR", 0.5, "VLM.PRECISION", "fp32", "DATASET.VAL_FRACTION", 0.2, "TRAIN.THREADS", 1)
    assert unread(*words, on_embeddings=None) == ["OPTIM.LR"]


def test_what_a_trainer_ignores_is_unread_but_not_what_it_sets_itself():
    words = ("OPTIM.LR", 0.5, "CLASSIFIER.INIT", "text", "TRAINER.LARE.ALPHA", 0.5)
    assert unread(*words, ignored=("OPTIM.", "CLASSIFIER.INIT")) == ["OPTIM.LR", "CLASSIFIER.INIT"]
    assert keys.unread(changed("OPTIM.LR", 0.03), {"the encoder"}, ("OPTIM.",), {"OPTIM.LR": 0.03}) == []


def test_keys_of_other_trainers_are_found_among_names():
    names = ["TRAINER.LARE.ALPHA", "TRAINER.LADS.LR", "TRAINER.NAME", "OPTIM.LR"]
    assert keys.of_other_trainers(names, "TRAINER.LARE") == ["TRAINER.LADS.LR"]


def test_help_tells_all_of_a_key():
    first, *others = keys.help_of("DATASET.NUM_SHOTS").splitlines()
    assert first.startswith("DATASET.NUM_SHOTS: training images of each class")
    assert [" ".join(line.split()) for line in others[:2]] == ["default -1 (int)", "allowed at least 1, or -1"]
    assert keys.help_of("DATASET.SOURCE_PROMPTS.photo").startswith("DATASET.SOURCE_PROMPTS: ")
    with pytest.raises(InputError, match=r"unknown config key 'OPTIM.LRR': did you mean 'OPTIM.LR'"):
        keys.help_of("OPTIM.LRR")


def test_the_page_of_keys_is_current():
    page = Path(__file__).parents[2] / "docs" / "keys.md"
    assert page.read_text(encoding="utf-8") == keys_page.page(), "run `make docs`"
