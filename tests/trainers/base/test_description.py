"""The descriptions of the methods, and what reads them."""

from __future__ import annotations

import pytest

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import LARE
from lare_dassl.trainers.base.description import LAST, described, description_of, in_reports
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
    assert set(method.keys()) > {"TRAINER.LADS.ALPHA", "TRAINER.LADS.TARGETS"}


def test_a_subclass_shares_the_settings_and_neither_look_nor_joint_training():
    @TRAINER_REGISTRY.register()
    class NarrowLARE(LARE):
        """LARE with another step."""

    method = description_of("NarrowLARE")
    assert (method.section, method.stage_folder, method.needs) == ("TRAINER.LARE", "regions", ("texts",))
    assert (method.label, method.colour, method.place, method.joint) == ("NarrowLARE", "", LAST, False)
