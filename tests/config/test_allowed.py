from __future__ import annotations

import math

import pytest

from lare_dassl.config import merging
from lare_dassl.config.allowed import ALLOWED, ANY, Allowed, check_flag
from lare_dassl.errors import InputError

KEYS = dict(merging.leaf_keys(merging.new_config()))
# Numbers of Dassl's that trainers of ours do not read, or that take any value.
FREE = ("VERSION", "DATASET.CIFAR_C_LEVEL", "DATASET.STL10_FOLD", "INPUT.", "TRAINER.")
OURS = ("LARE", "LADS", "CLIPADAPTER", "CONTEXTOPTIMISATION", "TIPADAPTER", "GAUSSIANNOISE", "TEXTINTERPOLATION")


def numbers():
    """The keys that hold numbers, or lists of them, and are read by our trainers."""
    for key, value in KEYS.items():
        first = value[0] if isinstance(value, list | tuple) and value else value
        ours = key.startswith(tuple(f"TRAINER.{name}." for name in OURS))
        if isinstance(first, int | float) and not isinstance(first, bool) and (ours or not key.startswith(FREE)):
            yield key


@pytest.mark.parametrize("key", sorted(numbers()))
def test_every_number_of_ours_has_a_range_that_its_default_is_in(key):
    assert key in ALLOWED, f"give {key} a range in lare_dassl/config/allowed.py"
    assert ALLOWED[key].fault(KEYS[key]) == ""


def test_every_entry_of_the_table_is_a_key():
    assert set(ALLOWED) <= set(KEYS)


@pytest.mark.parametrize("key", sorted(key for key, value in KEYS.items() if isinstance(value, float)))
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_no_number_is_nan_or_infinite(key, text):
    with pytest.raises(InputError, match=rf"^here: {key} must be a finite number, not -?(nan|inf)$"):
        merging.merge_key(merging.new_config(), key, text, "here")


@pytest.mark.parametrize("key", sorted(key for key, value in KEYS.items() if type(value) is int))
def test_no_whole_number_is_beyond_what_fits(key):
    with pytest.raises(InputError, match=rf"^here: {key} must (be at most \d+|lie in .*), not 1{{100}}$"):
        merging.merge_key(merging.new_config(), key, int("1" * 100), "here")


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
def test_faults_are_told_with_the_value_and_what_is_allowed(allowed, value, fault):
    assert allowed.fault(value) == fault


@pytest.mark.parametrize("text", ["a" * 256, "é" * 128, "a/" * 2049])
def test_a_path_too_long_is_no_path(text):
    assert ANY.fault(text).startswith("must have at most 4096 bytes, and 255 between two slashes, not '")
    assert ANY.fault(text[: len(text) // 2]) == ""


def test_a_flag_is_named():
    check_flag("--jobs", None, Allowed(1))
    check_flag("--jobs", 1, Allowed(1))
    with pytest.raises(InputError, match=r"^--jobs must be at least 1, not 0$"):
        check_flag("--jobs", 0, Allowed(1))


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
        (
            "DATASET.TARGET_PROMPTS.photo",
            [1],
            "DATASET.TARGET_PROMPTS.photo takes a value of type str or list, not [1]",
        ),
        ("OPTIM.LR" + "R" * 10**6, 1, "unknown config key 'OPTIM.LRRR"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_short_line(key, value, message):
    cfg = merging.new_config()
    with pytest.raises(InputError) as error:
        merging.merge_key(cfg, key, value, "here")
    assert str(error.value).startswith(f"here: {message}")
    assert len(str(error.value)) < 1000
    assert dict(merging.leaf_keys(cfg)) == KEYS


def test_a_number_may_stand_for_a_list_of_one(monkeypatch):
    cfg = merging.new_config()
    merging.merge_overrides(cfg, ["OPTIM.STEPSIZE", "5"])
    assert list(cfg.OPTIM.STEPSIZE) == [5]


def test_keys_of_plugins_may_hold_what_they_like():
    cfg = merging.new_config()
    cfg.TRAINER.MINE = type(cfg)({"CAP": 1.0, "COUNT": 1})
    merging.merge_overrides(cfg, ["TRAINER.MINE.CAP", "inf", "TRAINER.MINE.COUNT", str(2**40)])
    assert (math.inf, 2**40) == (cfg.TRAINER.MINE.CAP, cfg.TRAINER.MINE.COUNT)
