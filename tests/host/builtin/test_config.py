from __future__ import annotations

from lare_dassl.host.builtin.config import clean_cfg
from lare_dassl.host.door import cfg_default, get_cfg_default


def test_a_copy_can_be_changed_without_changing_the_defaults():
    cfg = get_cfg_default()
    cfg.OPTIM.LR = 1.0
    assert cfg_default.OPTIM.LR == 0.0003


def test_clean_cfg_of_an_unknown_trainer_keeps_the_name_alone():
    cfg = get_cfg_default()
    clean_cfg(cfg, "Vanilla")
    assert list(cfg.TRAINER) == ["NAME"]
