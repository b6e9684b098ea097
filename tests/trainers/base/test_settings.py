from __future__ import annotations

from dataclasses import asdict

import pytest

from lare_dassl import AugmentationSettings, InputError, RegionSettings
from lare_dassl.config import merging
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.clip_adapter import AdapterSettings
from lare_dassl.trainers.base.description import LAST, described
from lare_dassl.trainers.base.settings import ClassifierSettings

# For each section a value of each key that is not its default, in the order of the fields of its dataclass.
FITTING = {"ALPHA": 0.25, "HIDDEN_DIM": 7, "EPOCHS": 3, "LR": 0.5, "WEIGHT_DECAY": 0.125, "BATCH_SIZE": 9}
CHANGED = {
    "TRAINER.LARE": {"ALPHA": 0.25, "REGION": "residual", "NORMALISE_CORNERS": False}
    | FITTING
    | {"STEPS": 11, "SAMPLES_PER_IMAGE": 4, "LOGIT_SCALE": 2.5},
    "TRAINER.LADS": FITTING | {"TARGETS": ["painting", "7"], "LOGIT_SCALE": 2.5},
    "TRAINER.CLIPADAPTER": {"RATIO": 0.5, "REDUCTION": 2},
    "TRAINER.CONTEXTOPTIMISATION": {"INIT": "", "N_CTX": 3, "CSC": True},
    "TRAINER.TIPADAPTER": {"ALPHA": 2.0, "BETA": 3.0},
    "TRAINER.GAUSSIANNOISE": {"SAMPLES_PER_IMAGE": 2, "SIGMA": 0.5},
    "TRAINER.TEXTINTERPOLATION": {"SAMPLES_PER_IMAGE": 2},
}
WITH_KEYS = [method for method in described() if method.place < LAST and method.own_keys()]


@pytest.fixture
def cfg():
    return merging.new_config()


def settings_of(method, cfg):
    return TRAINER_REGISTRY.get(method.name).settings_of(cfg)


@pytest.mark.parametrize("method", WITH_KEYS, ids=lambda method: method.name)
def test_the_settings_of_a_method_take_every_key_of_its_section(cfg, method):
    assert list(asdict(settings_of(method, cfg)).values()) == [
        tuple(value) if isinstance(value, list) else value for value in ordered(method, method.own_keys())
    ]
    changed = CHANGED[method.section]
    assert {f"{method.section}.{name}" for name in changed} == set(method.own_keys())
    for name, value in changed.items():
        merging.merge_key(cfg, f"{method.section}.{name}", value, "test")
    found = list(asdict(settings_of(method, cfg)).values())
    assert found == [tuple(value) if isinstance(value, list) else value for value in changed.values()]


def ordered(method, values):
    """The values of a section's keys in the order of the fields."""
    return [values[f"{method.section}.{name}"] for name in CHANGED[method.section]]


def test_methods_without_keys_have_no_settings(cfg):
    without = [method for method in described() if method.place < LAST and not method.own_keys()]
    assert [method.name for method in without] == ["ZeroShot", "FineTune", "CrossModal"]
    assert [settings_of(method, cfg) for method in without] == [None] * 3


def test_defaults_of_the_configuration_are_those_of_the_methods(cfg):
    for name, plain in (
        ("LARE", RegionSettings()),
        ("LADS", AugmentationSettings()),
        ("CLIPAdapter", AdapterSettings()),
    ):
        found = asdict(TRAINER_REGISTRY.get(name).settings_of(cfg))
        assert {key: found[key] for key in asdict(plain)} == asdict(plain)


def test_a_value_out_of_its_range_names_the_section(cfg):
    cfg.TRAINER.LARE.ALPHA = 2.0
    with pytest.raises(InputError, match=r"^TRAINER.LARE: alpha must lie in \[0, 1\], not 2\.0"):
        TRAINER_REGISTRY.get("LARE").check_settings(cfg)


@pytest.mark.parametrize(("text", "weight"), [("val", None), ("1.0", 1.0), ("0", 0.0), ("0.25", 0.25)])
def test_the_weight_of_an_average_is_a_number_or_chosen(cfg, text, weight):
    cfg.CLASSIFIER.AVERAGE = text
    assert ClassifierSettings.of(cfg) == ClassifierSettings("random", weight)


@pytest.mark.parametrize("text", ["", "test", "1.1", "-0.1", "nan"])
def test_other_weights_of_an_average_are_refused(cfg, text):
    cfg.CLASSIFIER.AVERAGE = text
    with pytest.raises(InputError, match=f"CLASSIFIER.AVERAGE must be val or a number in .0, 1., not '{text}'"):
        ClassifierSettings.of(cfg)


def test_a_check_of_settings_leaves_the_log_alone(cfg, caplog):
    """The run's own log warns of settings without effect, once."""
    merging.use_trainer_defaults(cfg, "ZeroShot")
    cfg.CLASSIFIER.INIT, cfg.MODEL.HEAD.NAME = "text", "mlp"
    TRAINER_REGISTRY.get("ZeroShot").check_settings(cfg)
    assert not caplog.records
