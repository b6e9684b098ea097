from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.config import merging
from lare_dassl.errors import InputError
from lare_dassl.io.yaml_files import read_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.fixture
def cfg():
    return merging.new_config()


def listed(value):
    return list(value) if isinstance(value, tuple) else value


def get(cfg, key):
    return dict(merging.leaf_keys(cfg))[key]


def test_a_number_is_no_list(cfg):
    with pytest.raises(InputError, match=r"TRAINER.LADS.TARGETS takes a value of type list, not 3"):
        merging.merge_key(cfg, "TRAINER.LADS.TARGETS", 3, "test")


@pytest.mark.parametrize("text", ["painting", "[painting]", "['painting']"])
def test_a_list_of_one_may_be_written_without_brackets_or_quotes(cfg, text):
    merging.merge_overrides(cfg, ["TRAINER.LADS.TARGETS", text])
    assert cfg.TRAINER.LADS.TARGETS == ["painting"]


def test_a_flag_behind_the_pairs_is_told(cfg):
    with pytest.raises(InputError, match=r"the flag --output-dir comes after a KEY VALUE pair: put flags before"):
        merging.merge_overrides(cfg, ["OPTIM.LR", "1", "--output-dir", "x"])


def test_a_section_is_answered_by_its_keys(cfg):
    with pytest.raises(InputError, match=r"did you mean 'DATASET.LONG_TAIL.RATIO'"):
        merging.merge_overrides(cfg, ["DATASET.LONG_TAIL", "10"])


def test_the_probe_of_the_lads_paper_stands_in_its_config(cfg):
    merging.use_linear_probe_defaults(cfg)
    merging.merge_file(cfg, Path(__file__).parents[2] / "configs" / "trainers" / "lads_paper.yaml")
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MAX_EPOCH) == ("adamw", 0.001, 0.05, 400)
    assert cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 256


def test_a_setting_out_of_its_range_is_told(cfg):
    with pytest.raises(InputError, match=r"test: TRAINER.LARE.ALPHA must lie in \[0, 1\], not 2\.0"):
        merging.merge_key(cfg, "TRAINER.LARE.ALPHA", 2, "test")


def test_configs_are_apart_from_each_other(cfg):
    cfg.VLM.PRETRAINED = "changed"
    cfg.VLM.TEMPLATES.append("a {}")
    assert merging.new_config().VLM.PRETRAINED == ""
    assert merging.new_config().VLM.TEMPLATES == ["a photo of a {}."]


def test_registering_twice_changes_nothing():
    merging.cfg_default.VLM.PRETRAINED = "kept"
    try:
        merging.register()
        assert merging.new_config().VLM.PRETRAINED == "kept"
    finally:
        merging.cfg_default.VLM.PRETRAINED = ""


def test_a_linear_probe_is_trained_with_adamw(cfg):
    merging.use_linear_probe_defaults(cfg)
    assert cfg.OPTIM.NAME == "adamw"
    assert cfg.OPTIM.LR > 0
    assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.STEPS) == (0, 600)


# One key.


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("TRAINER.LARE.ALPHA", 1, 1.0),
        ("TRAINER.LARE.ALPHA", "1", 1.0),
        ("OPTIM.LR", "2e-3", 0.002),
        ("OPTIM.LR", "1e-3", 0.001),
        ("TRAINER.LARE.EPOCHS", "7", 7),
        ("VLM.ALLOW_RANDOM", "True", True),
        ("VLM.PRETRAINED", "openai", "openai"),
        ("VLM.PRETRAINED", "", ""),
        ("VLM.TEMPLATES", "['a {}', 'the {}']", ["a {}", "the {}"]),
        ("DATASET.SOURCE_DOMAINS", ["photo"], ("photo",)),
    ],
)
def test_values_and_their_texts_are_taken(cfg, key, value, stored):
    merging.merge_key(cfg, key, value, "test")
    found = get(cfg, key)
    assert (tuple(found) if isinstance(stored, tuple) else found) == stored
    if isinstance(stored, float):
        assert type(found) is float


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("TRAINER.LARE.ALPHA", "high", "float"),
        ("TRAINER.LARE.ALPHA", [1], "float"),
        ("TRAINER.LARE.ALPHA", None, "float"),
        ("TRAINER.LARE.EPOCHS", 1.5, "int"),
        ("TRAINER.LARE.EPOCHS", "many", "int"),
        ("TRAINER.LARE.EPOCHS", None, "int"),
        ("VLM.ALLOW_RANDOM", "yes", "bool"),
        ("VLM.TEMPLATES", 7, "list"),
        ("VLM.PRETRAINED", ["openai"], "str"),
        ("DATASET.NUM_SHOTS", None, "int"),
    ],
)
def test_a_value_of_another_type_is_told_and_not_taken(cfg, key, value, expected):
    before = get(cfg, key)
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, value, "my.yaml")
    assert str(error.value) == f"my.yaml: {key} takes a value of type {expected}, not {value!r}"
    assert get(cfg, key) == before


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("TRAINER.LARE.ALFA", "TRAINER.LARE.ALPHA"),
        ("VLM.PRETRAIND", "VLM.PRETRAINED"),
        ("DATASET.NUM_SHOT", "DATASET.NUM_SHOTS"),
        ("optim.lr", "OPTIM.LR"),
        ("VLN.PRETRAINED", "VLM.PRETRAINED"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(cfg, key, nearest):
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, 1, "my.yaml")
    assert str(error.value).startswith(f"my.yaml: unknown config key '{key}': did you mean '{nearest}'? known: ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("OPTIM.LR", True, "OPTIM.LR takes a value of type float, not True"),
        ("OPTIM.STEPSIZE", ["a"], "OPTIM.STEPSIZE takes a value of type tuple, not ['a']"),
        ("OPTIM.STEPSIZE", "[1.5]", "OPTIM.STEPSIZE takes a value of type tuple, not '[1.5]'"),
        ("VLM.TEMPLATES", [["a {}"]], "VLM.TEMPLATES takes a value of type list, not [['a {}']]"),
        ("DATASET.SOURCE_DOMAINS", [False], "DATASET.SOURCE_DOMAINS takes a value of type tuple, not [False]"),
        ("OPTIM.LR", 10**400, "OPTIM.LR takes a value of type float, not 1000000"),
        ("OPTIM.MAX_EPOCH", "(" * 300, "OPTIM.MAX_EPOCH takes a value of type int, not '((("),
        ("OPTIM.MAX_EPOCH", f"0x{'f' * 9999}", "OPTIM.MAX_EPOCH must be at most 1000000, not a very large int"),
        ("DATASET.EXPECTED_IMAGES.photo", -1, "DATASET.EXPECTED_IMAGES.photo must be at least 0, not -1"),
        ("DATASET.TARGET_PROMPTS.a", [1], "DATASET.TARGET_PROMPTS.a takes a value of type str or list, not [1]"),
        ("OPTIM.LR" + "R" * 10**6, 1, "unknown config key 'OPTIM.LRRR"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_short_line(cfg, key, value, message):
    before = dict(merging.leaf_keys(cfg))
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, value, "here")
    assert str(error.value).startswith(f"here: {message}")
    assert len(str(error.value)) < 1000
    assert dict(merging.leaf_keys(cfg)) == before


def test_a_number_may_stand_for_a_list_of_one(cfg):
    merging.merge_overrides(cfg, ["OPTIM.STEPSIZE", "5"])
    assert list(cfg.OPTIM.STEPSIZE) == [5]


# Files and command lines.


def test_a_file_sets_what_it_names_and_nothing_else(cfg, write):
    before = dict(merging.leaf_keys(cfg))
    merging.merge_file(cfg, write("TRAINER:\n  LARE:\n    ALPHA: 1\n    LR: 1e-2\nVLM:\n  TEMPLATES: ['a {}']\n"))
    changed = {key: value for key, value in merging.leaf_keys(cfg) if before[key] != value}
    assert changed == {"TRAINER.LARE.ALPHA": 1.0, "TRAINER.LARE.LR": 0.01, "VLM.TEMPLATES": ["a {}"]}


def test_an_empty_file_sets_nothing(cfg, write):
    before = dict(merging.leaf_keys(cfg))
    merging.merge_file(cfg, str(write("# nothing here\n")))
    assert dict(merging.leaf_keys(cfg)) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "TRAINER:\n  LARE:\n    ALPA: 1\n",
            "unknown config key 'TRAINER.LARE.ALPA': did you mean 'TRAINER.LARE.ALPHA'",
        ),
        ("TRAINER: 3\n", "unknown config key 'TRAINER'"),
        ("3: 4\n", "unknown config key '3'"),
        ("VLM:\n  PRECISION: int8\n", "VLM.PRECISION must be one of auto, fp32, bf16, fp16, not 'int8'"),
        ("OPTIM:\n  MAX_EPOCH: ten\n", "OPTIM.MAX_EPOCH takes a value of type int, not 'ten'"),
        ("OPTIM:\n  MAX_EPOCH:\n", "OPTIM.MAX_EPOCH takes a value of type int, not None"),
        ("VLM: [\n", "is not valid YAML: "),
        (b"VLM:\n  PRETRAINED: \xe4\n", "is not valid YAML: "),
        ("- VLM\n", "must hold keys and values, not a list"),
        ("VLM\n", "must hold keys and values, not a str"),
    ],
)
def test_a_file_that_cannot_be_taken_is_named(cfg, write, content, message):
    path = write(content)
    with pytest.raises(InputError) as error:
        merging.merge_file(cfg, path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none.yaml", ""])
def test_a_missing_file_is_named(cfg, tmp_path, name):
    with pytest.raises(InputError, match=f"no config file {tmp_path}"):
        merging.merge_file(cfg, tmp_path / name)


def test_overrides_are_pairs(cfg):
    merging.merge_overrides(cfg, ["TRAINER.LARE.ALPHA", "0.5", "DATASET.NUM_SHOTS", "4", "TRAINER.LARE.ALPHA", "0.6"])
    assert (cfg.TRAINER.LARE.ALPHA, cfg.DATASET.NUM_SHOTS) == (0.6, 4)
    merging.merge_overrides(cfg, [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["DATASET.NUM_SHOTS", "4", "VLM.PRETRAINED"],
            "overrides come in pairs KEY VALUE, but 'VLM.PRETRAINED' has no",
        ),
        (
            ["DATASET.NUMSHOTS", "4"],
            "command line: unknown config key 'DATASET.NUMSHOTS': did you mean 'DATASET.NUM_SHOTS",
        ),
        (["DATASET.NUM_SHOTS", "four"], "command line: DATASET.NUM_SHOTS takes a value of type int, not 'four'"),
        (["CLASSIFIER.INIT", "texts"], "command line: CLASSIFIER.INIT must be one of random, text, not 'texts'"),
        (["OPTIM.LR", "("], "command line: OPTIM.LR takes a value of type float, not '('"),
        (["DATASET.NUM_SHOTS", "("], "command line: DATASET.NUM_SHOTS takes a value of type int, not '('"),
    ],
)
def test_overrides_that_cannot_be_taken_are_told(cfg, overrides, message):
    with pytest.raises(InputError) as error:
        merging.merge_overrides(cfg, overrides)
    assert str(error.value).startswith(message)


def test_a_finished_config_keeps_the_settings_of_its_trainer_and_takes_no_others(cfg):
    cfg.TRAINER.NAME = "LARE"
    finished = merging.finish(cfg)
    assert finished.is_frozen()
    trainers = {key.split(".")[1] for key, _ in merging.leaf_keys(finished) if key.startswith("TRAINER.")}
    assert trainers == {"NAME", "LARE"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_that_come_with_the_project_are_taken(cfg, path):
    merging.merge_file(cfg, path)
    given = dict(merging.leaf_keys(read_yaml(path)))
    taken = dict(merging.leaf_keys(cfg))
    assert {key: listed(taken[key]) for key in given} == given


def test_a_mapping_takes_entries_of_any_name(cfg, tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(
        "DATASET:\n  TARGET_PROMPTS: {Real World: 'a {}.', v1.5: ['a {}.', 'the {}.']}\n  EXPECTED_IMAGES: {photo: 3}\n"
    )
    merging.merge_file(cfg, path)
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS.neon", "a neon {}.", "DATASET.EXPECTED_IMAGES.neon", "7"])
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS.Real World", "['one {}']"])
    assert cfg.DATASET.TARGET_PROMPTS == {"Real World": ["one {}"], "v1.5": ["a {}.", "the {}."], "neon": "a neon {}."}
    assert cfg.DATASET.EXPECTED_IMAGES == {"photo": 3, "neon": 7}
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS", "{}"])
    assert cfg.DATASET.TARGET_PROMPTS == {}
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS.photo", "a {}."])
    assert cfg.DATASET.TARGET_PROMPTS == {"photo": "a {}."}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DATASET.TARGET_PROMPTS", "a {}.", "DATASET.TARGET_PROMPTS takes entries NAME: VALUE"),
        ("DATASET.TARGET_PROMPTS.photo", 5, "DATASET.TARGET_PROMPTS.photo takes a value of type str or list, not 5"),
        ("DATASET.TARGET_PROMPTS.photo", {"x": "a {}."}, "takes a value of type str or list, not {'x': 'a {}.'}"),
        ("DATASET.EXPECTED_IMAGES.photo", "many", "takes a value of type int, not 'many'"),
        ("DATASET.EXPECTED_IMAGES.photo", "[1", "takes a value of type int, not '[1'"),
        ("DATASET.EXPECTED_IMAGES.photo", True, "takes a value of type int, not True"),
        ("DATASET.TARGET_PROMPT.photo", "a {}.", "unknown config key 'DATASET.TARGET_PROMPT.photo'"),
    ],
)
def test_a_mapping_refuses_what_is_no_entry(cfg, key, value, message):
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, value, where="here")
    assert str(error.value).startswith("here: ")
    assert message in str(error.value)


def test_a_domain_in_a_domain_is_refused(cfg, tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("DATASET: {TARGET_PROMPTS: {photo: {x: 'a {}.'}}}\n")
    with pytest.raises(InputError, match=r"DATASET.TARGET_PROMPTS.photo takes a value of type str or list"):
        merging.merge_file(cfg, path)
