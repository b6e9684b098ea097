from __future__ import annotations

import pytest

from lare_dassl.datasets.base.domains import check_domains, chosen_domains
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

KNOWN = ["photo", "sketch", "cartoon"]


def test_good_choices_pass():
    check_domains(["photo"], ["sketch", "cartoon"], KNOWN)
    check_domains(["photo", "sketch"], [], KNOWN)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([], ["photo"], "no source domain.*--source-domains.*known: photo, sketch, cartoon"),
        (["foto"], [], "source domain.*'foto': did you mean 'photo'"),
        (["photo"], ["Sketsch"], "target domain.*'Sketsch': did you mean 'sketch'"),
        (["photo"], ["sketch", "photo"], "'photo' is both source and target"),
        (["photo", "photo"], [], "source domain.*'photo' is given twice"),
    ],
)
def test_choices_that_cannot_be_run_are_refused(source, target, message):
    with pytest.raises(InputError, match=message):
        check_domains(source, target, KNOWN)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([], [], (["photo"], ["sketch"])),
        (["cartoon"], [], (["cartoon"], [])),
        ([], ["cartoon"], (["photo"], ["cartoon"])),
    ],
)
def test_default_targets_hold_only_where_nothing_is_named(source, target, expected):
    cfg = make_cfg(DATASET__SOURCE_DOMAINS=source, DATASET__TARGET_DOMAINS=target)
    assert chosen_domains(cfg, KNOWN, ["photo"], ["sketch"]) == expected
