from __future__ import annotations

import math

import pytest

from lare_dassl.errors import InputError
from lare_dassl.methods.clip_adapter import AdapterSettings
from lare_dassl.methods.lads import AugmentationSettings
from lare_dassl.methods.lare.regions import RegionSettings
from lare_dassl.methods.shared.settings import ANY, Allowed


@pytest.mark.parametrize(
    ("allowed", "value", "fault"),
    [
        (Allowed(0, 1), -0.1, "must lie in [0, 1], not -0.1"),
        (Allowed(0, 1), 1, ""),
        (Allowed(0, 1, below=True), 1.0, "must lie in [0, 1), not 1.0"),
        (Allowed(0, 1, above=True), 0, "must lie in (0, 1], not 0"),
        (Allowed(1), 0, "must be at least 1, not 0"),
        (Allowed(0, above=True), 0.0, "must be above 0, not 0.0"),
        (Allowed(1, 1_000_000), 0, "must be at least 1, not 0"),
        (Allowed(1, 1_000_000), 2_000_000, "must be at most 1000000, not 2000000"),
        (Allowed(0, 1e18), 1e19, "must be at most 1e+18, not 1e+19"),
        (Allowed(1, also=-1), -1, ""),
        (Allowed(1, also=-1), -2, "must be at least 1, or -1, not -2"),
        (Allowed(1), [2, 0], "must be at least 1, not 0"),
        (Allowed(empty=False), (), "must have at least one entry, not []"),
        (Allowed(choices=("random", "text")), "txt", "must be one of random, text, not 'txt': did you mean 'text'?"),
        (ANY, 2**31, "must be at most 2147483647, not 2147483648"),
        (ANY, math.inf, "must be a finite number, not inf"),
        (ANY, "a\0b", "must be text without null and half characters, not 'a\\x00b'"),
        (ANY, "\ud800", "must be text without null and half characters, not '\\ud800'"),
        (ANY, "a/\udcff", ""),
        (ANY, ["\udcff"], "must be text in UTF-8, not '\\udcff'"),
        (ANY, "~no-such-user/x", "names the home of a user who is not known here: '~no-such-user/x'"),
        (ANY, True, ""),
    ],
)
def test_a_fault_names_the_value_and_what_is_allowed(allowed, value, fault):
    assert allowed.fault(value) == fault


@pytest.mark.parametrize("text", ["a" * 256, "é" * 128, "a/" * 2049, "é/" * 1400])
def test_a_path_too_long_is_no_path(text):
    assert ANY.fault(text).startswith("must have at most 4096 bytes, and 255 between two slashes, not '")
    assert ANY.fault(text[: len(text) // 2]) == ""


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        (ANY, ""),
        (Allowed(0, 1, below=True), "in [0, 1)"),
        (Allowed(0, above=True), "above 0"),
        (Allowed(1, also=-1), "at least 1, or -1"),
        (Allowed(1, 65_536, empty=False), "in [1, 65536], at least one entry"),
        (Allowed(empty=False), "at least one entry"),
        (Allowed(choices=("val", "test")), "one of val, test"),
    ],
)
def test_a_range_in_words(allowed, words):
    assert allowed.in_words() == words


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (RegionSettings, {"alpha": 1.5}, "alpha must lie in [0, 1], not 1.5"),
        (RegionSettings, {"alpha": math.nan}, "alpha must be a finite number, not nan"),
        (RegionSettings, {"parametrisation": "box"}, "parametrisation must be one of minmax, residual, not 'box'"),
        (RegionSettings, {"hidden_dim": 0}, "hidden_dim must be at least 1, not 0"),
        (RegionSettings, {"epochs": -1}, "epochs must be at least 0, not -1"),
        (RegionSettings, {"steps": 0}, "steps must be at least 1, not 0"),
        (RegionSettings, {"lr": 0.0}, "lr must be above 0, not 0.0"),
        (RegionSettings, {"batch_size": 0}, "batch_size must be at least 1, not 0"),
        (RegionSettings, {"weight_decay": -0.5}, "weight_decay must be at least 0, not -0.5"),
        (AugmentationSettings, {"epochs": 0}, "epochs must be at least 1, not 0"),
        (AdapterSettings, {"ratio": 1.1}, "ratio must lie in [0, 1], not 1.1"),
        (AdapterSettings, {"reduction": 0}, "reduction must be at least 1, not 0"),
    ],
)
def test_settings_of_methods_out_of_range_are_named(settings, values, message):
    with pytest.raises(InputError) as error:
        settings(**values)
    assert str(error.value) == message
