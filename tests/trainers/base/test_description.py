"""The descriptions of the methods, and what reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import LARE
from lare_dassl.trainers.base import methods_page
from lare_dassl.trainers.base.description import LAST, described, description_of, help_of, in_reports
from tools.arguments import trainer_names

OURS = [
    *("ZeroShot", "FineTune", "LADS", "LARE", "ContextOptimisation", "CLIPAdapter", "TipAdapter", "TipAdapterF"),
    *("CrossModal", "GaussianNoise", "TextInterpolation", "RegionCentre"),
]


def test_methods_stand_in_the_order_of_tables():
    assert [method.name for method in described() if method.place < LAST] == OURS
    assert [method.name for method in in_reports().values() if method.place < LAST] == [*OURS, "CoOp"]


def test_the_help_lists_our_methods_without_importing_them():
    assert trainer_names() == OURS


@pytest.mark.parametrize("name", ["CoOp", "", "None"])
def test_other_trainers_have_no_description(name):
    assert description_of(name) is None


def test_a_description_holds_what_the_class_declares():
    method = description_of("LADS")
    assert (method.label, method.group, method.section, method.stage_folder) == (
        *("LADS", "paper", "TRAINER.LADS", "augmentation"),
    )
    assert method.needs == ("texts", "domain texts") and method.joint
    assert method.summary.startswith("Stage 1 fits a network")
    assert set(method.own_keys()) > {"TRAINER.LADS.ALPHA", "TRAINER.LADS.TARGETS"}


def test_a_subclass_shares_settings_but_not_look_nor_joint_runs():
    @TRAINER_REGISTRY.register()
    class NarrowLARE(LARE):
        """LARE with another step."""

    method = description_of("NarrowLARE")
    assert (method.section, method.stage_folder, method.needs) == ("TRAINER.LARE", "regions", ("texts",))
    assert (method.label, method.colour, method.place, method.joint) == ("NarrowLARE", "", LAST, False)


@pytest.mark.parametrize("name", OURS)
def test_the_help_of_a_method_names_its_head_keys_and_needs(name):
    method, text = description_of(name), help_of(name)
    assert text.startswith(f"{name}: {method.summary}\n")
    assert all(
        word in text for word in (method.head, *method.needs, *method.own_keys(), *method.defaults, method.paper)
    )


def test_help_of_an_unknown_method_names_the_nearest():
    with pytest.raises(InputError, match="unknown method 'LAER': did you mean 'LARE'"):
        help_of("LAER")


def test_the_page_of_methods_is_current():
    page = Path(__file__).parents[3] / "docs" / "methods.md"
    assert page.read_text(encoding="utf-8") == methods_page.page(), "run `make docs`"
