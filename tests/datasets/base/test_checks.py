from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lare_dassl.datasets.base.checks import (
    check_count,
    check_no_repeat,
    check_tested,
    refuse_partial,
    shown_names,
)
from lare_dassl.errors import InputError
from tests.helpers import make_cfg


def test_a_partial_copy_is_refused_with_the_way_to_take_it():
    with pytest.raises(InputError) as error:
        refuse_partial(make_cfg(), "'x' is short", "get it anew")
    assert str(error.value) == "'x' is short: get it anew; DATASET.ALLOW_PARTIAL True takes it as it is"
    with pytest.raises(InputError, match=r"^'x' is short; DATASET.ALLOW_PARTIAL True"):
        refuse_partial(make_cfg(), "'x' is short", "")


def test_a_partial_copy_is_told_of_where_it_is_allowed(caplog):
    with caplog.at_level(logging.WARNING):
        check_count(make_cfg(DATASET__ALLOW_PARTIAL=True), Path("x"), "birds", 1_999, 2_000, remedy="get it anew")
    assert caplog.messages == ["'x' has 1,999 birds, expected 2,000: taken as it is (DATASET.ALLOW_PARTIAL)"]


def test_the_right_count_passes(caplog):
    check_count(make_cfg(), Path("x"), "birds", 2_000, 2_000, remedy="get it anew")
    assert not caplog.messages


def test_domains_without_test_images_are_named():
    check_tested({"photo", "sketch"}, ["sketch", "photo"], "get it anew")
    with pytest.raises(InputError, match=r"^domain 'sketch', 'neon' has no test image: get it anew$"):
        check_tested({"photo"}, ["photo", "sketch", "neon"], "get it anew")


def test_a_path_that_a_list_names_twice_is_told_with_both_lines():
    check_no_repeat(Path("x.txt"), [(1, "a"), (2, "b")], "get it anew")
    with pytest.raises(InputError) as error:
        check_no_repeat(Path("x.txt"), [(1, "a"), (4, "b"), (7, "b")], "get it anew")
    assert str(error.value) == "'x.txt' names 'b' twice, in lines 4 and 7: get it anew"


def test_long_lists_of_names_are_cut():
    assert shown_names([]) == "none"
    assert shown_names(list("abcde")) == "a, b, c, d, e"
    assert shown_names(list("abcdefg")) == "a, b, c, d, e and 2 more"
