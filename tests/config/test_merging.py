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


def values_of(cfg):
    leaves = dict(merging.leaf_keys(cfg))
    return {key: list(value) if isinstance(value, tuple) else value for key, value in leaves.items()}


def changes(cfg):
    """The settings that differ from their defaults."""
    before = values_of(merging.new_config())
    return {key: value for key, value in values_of(cfg).items() if before.get(key) != value}


def test_configs_are_apart_from_each_other(cfg):
    cfg.VLM.PRETRAINED = "changed"
    cfg.VLM.TEMPLATES.append("a {}")
    assert changes(merging.new_config()) == {}


def test_registering_twice_changes_nothing():
    merging.cfg_default.VLM.PRETRAINED = "kept"
    try:
        merging.register()
        assert merging.new_config().VLM.PRETRAINED == "kept"
    finally:
        merging.cfg_default.VLM.PRETRAINED = ""


def test_a_linear_probe_is_trained_with_adamw(cfg):
    merging.use_linear_probe_defaults(cfg)
    assert changes(cfg) == {
        **{"OPTIM.NAME": "adamw", "OPTIM.LR": 0.03, "OPTIM.WEIGHT_DECAY": 0.05, "OPTIM.LR_SCHEDULER": "cosine"},
        **{"OPTIM.MAX_EPOCH": 0, "DATALOADER.TRAIN_X.BATCH_SIZE": 256},
    }
    # The LADS paper's probe stands in its configuration.
    merging.merge_file(cfg, next(path for path in CONFIGS if path.name == "lads_paper.yaml"))
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MAX_EPOCH) == ("adamw", 0.001, 0.05, 400)
    assert cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 256


# One key.


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("TRAINER.LARE.ALPHA", 1, 1.0),
        ("TRAINER.LARE.ALPHA", "1", 1.0),
        ("OPTIM.LR", "2e-3", 0.002),
        ("TRAINER.LARE.EPOCHS", "7", 7),
        ("VLM.ALLOW_RANDOM", "True", True),
        ("VLM.PRETRAINED", "openai", "openai"),
        ("VLM.TEMPLATES", "['a {}', 'the {}']", ["a {}", "the {}"]),
        ("DATASET.SOURCE_DOMAINS", ["photo"], ["photo"]),
        ("TRAINER.LADS.TARGETS", "painting", ["painting"]),
        ("TRAINER.LADS.TARGETS", "[painting]", ["painting"]),
        ("TRAINER.LADS.TARGETS", "['painting']", ["painting"]),
        ("OPTIM.STEPSIZE", "5", [5]),
    ],
)
def test_values_and_their_texts_are_taken(cfg, key, value, stored):
    merging.merge_key(cfg, key, value, "test")
    [found] = changes(cfg).items()
    assert found == (key, stored)
    assert type(found[1]) is type(stored)


def of_no_type(key, expected, *values):
    """A case for each value that is of another type."""
    return [(key, value, f"{key} takes a value of type {expected}, not {value!r}") for value in values]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *of_no_type("TRAINER.LARE.ALPHA", "float", "high", "(", [1], None, True),
        *of_no_type("OPTIM.MAX_EPOCH", "int", "many", "(", 1.5, None),
        *of_no_type("VLM.ALLOW_RANDOM", "bool", "yes"),
        *of_no_type("VLM.PRETRAINED", "str", ["openai"]),
        *of_no_type("VLM.TEMPLATES", "list", 7, [["a {}"]]),
        *of_no_type("OPTIM.STEPSIZE", "tuple", ["a"], "[1.5]"),
        *of_no_type("DATASET.SOURCE_DOMAINS", "tuple", [False]),
        ("OPTIM.LR", 10**400, "OPTIM.LR takes a value of type float, not 1000000"),
        ("OPTIM.MAX_EPOCH", "(" * 300, "OPTIM.MAX_EPOCH takes a value of type int, not '((("),
        ("OPTIM.MAX_EPOCH", f"0x{'f' * 9999}", "OPTIM.MAX_EPOCH must be at most 1000000, not a very large int"),
        ("TRAINER.LARE.ALPHA", 2, "TRAINER.LARE.ALPHA must lie in [0, 1], not 2.0"),
        ("TRAINER.LARE.ALFA", 1, "unknown config key 'TRAINER.LARE.ALFA': did you mean 'TRAINER.LARE.ALPHA'? known: "),
        ("optim.lr", 1, "unknown config key 'optim.lr': did you mean 'OPTIM.LR'? known: "),
        ("VLN.PRETRAINED", 1, "unknown config key 'VLN.PRETRAINED': did you mean 'VLM.PRETRAINED'? known: "),
        ("DATASET.LONG_TAIL", 1, "unknown config key 'DATASET.LONG_TAIL': did you mean 'DATASET.LONG_TAIL.RATIO'"),
        ("OPTIM.LR" + "R" * 10**6, 1, "unknown config key 'OPTIM.LRRR"),
        ("--output-dir", "x", "the flag --output-dir comes after a KEY VALUE pair: put flags before"),
        ("DATASET.TARGET_PROMPTS", "a {}.", "DATASET.TARGET_PROMPTS takes entries NAME: VALUE"),
        *of_no_type("DATASET.TARGET_PROMPTS.a", "str or list", 5, [1], {"x": "a {}."}),
        *of_no_type("DATASET.EXPECTED_IMAGES.a", "int", "many", "[1", True),
        ("DATASET.EXPECTED_IMAGES.photo", -1, "DATASET.EXPECTED_IMAGES.photo must be at least 0, not -1"),
        ("DATASET.TARGET_PROMPT.photo", "a {}.", "unknown config key 'DATASET.TARGET_PROMPT.photo'"),
    ],
)
def test_what_a_key_does_not_take_is_refused_in_one_short_line(cfg, key, value, message):
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, value, "my.yaml")
    assert str(error.value).startswith(f"my.yaml: {message}")
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)
    assert changes(cfg) == {}


# Files and command lines.


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        ("OPTIM:\n  LR: 1e-2\nVLM:\n  TEMPLATES: ['a {}']\n", {"OPTIM.LR": 0.01, "VLM.TEMPLATES": ["a {}"]}),
        ("# nothing here\n", {}),
    ],
)
def test_a_file_sets_what_it_names_and_nothing_else(cfg, write, content, changed):
    merging.merge_file(cfg, write(content))
    assert changes(cfg) == changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("TRAINER: {LARE: {ALPA: 1}}", "unknown config key 'TRAINER.LARE.ALPA': did you mean 'TRAINER.LARE.ALPHA'"),
        ("TRAINER: 3\n", "unknown config key 'TRAINER'"),
        ("3: 4\n", "unknown config key '3'"),
        ("VLM:\n  PRECISION: int8\n", "VLM.PRECISION must be one of auto, fp32, bf16, fp16, not 'int8'"),
        ("OPTIM:\n  MAX_EPOCH:\n", "OPTIM.MAX_EPOCH takes a value of type int, not None"),
        ("DATASET: {TARGET_PROMPTS: {photo: {x: 'a {}.'}}}\n", "takes a value of type str or list"),
        ("OPTIM.LR: 1\nOPTIM: {LR: 2}\n", "OPTIM.LR is given twice: give it once"),
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


def test_of_pairs_the_last_one_counts(cfg):
    merging.merge_overrides(cfg, ["TRAINER.LARE.ALPHA", "0.5", "DATASET.NUM_SHOTS", "4", "TRAINER.LARE.ALPHA", "0.6"])
    assert changes(cfg) == {"TRAINER.LARE.ALPHA": 0.6, "DATASET.NUM_SHOTS": 4}


def test_a_key_without_its_value_is_refused(cfg):
    with pytest.raises(InputError, match=r"^overrides come in pairs KEY VALUE, but 'VLM.PRETRAINED' has no partner$"):
        merging.merge_overrides(cfg, ["OPTIM.LR", "1", "VLM.PRETRAINED"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_that_come_with_the_project_are_taken(cfg, path):
    merging.merge_file(cfg, path)
    given, taken = dict(merging.leaf_keys(read_yaml(path))), values_of(cfg)
    assert {key: taken[key] for key in given} == given


def test_a_mapping_takes_entries_of_any_name(cfg, write):
    prompts = "TARGET_PROMPTS: {Real World: 'a {}.', v1.5: ['a {}.', 'the {}.']}"
    merging.merge_file(cfg, write(f"DATASET:\n  {prompts}\n  EXPECTED_IMAGES: {{photo: 3}}\n"))
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS.neon", "a neon {}.", "DATASET.EXPECTED_IMAGES.neon", "7"])
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS.Real World", "['one {}']"])
    assert cfg.DATASET.TARGET_PROMPTS == {"Real World": ["one {}"], "v1.5": ["a {}.", "the {}."], "neon": "a neon {}."}
    assert cfg.DATASET.EXPECTED_IMAGES == {"photo": 3, "neon": 7}
    merging.merge_overrides(cfg, ["DATASET.TARGET_PROMPTS", "{}"])
    assert cfg.DATASET.TARGET_PROMPTS == {}
