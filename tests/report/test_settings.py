from __future__ import annotations

from lare_dassl.report.settings import settings_tables
from tests.report.making import record


def test_settings_that_differ_and_those_that_agree():
    common = {"OPTIM.LR": 0.1, "OUTPUT_DIR": "x"}

    def run(trainer, seed, torch, **settings):
        own = common | {"SEED": seed, "TRAINER.NAME": trainer} | settings
        return record(trainer, seed, settings=own, versions={"torch": torch})

    alpha = {"TRAINER.LARE.ALPHA": 0.3}
    records = [run("FineTune", 0, "2.9"), run("LARE", 0, "2.9", **alpha), run("LARE", 1, "2.10", **alpha)]
    differing, agreeing = settings_tables(records)
    # The seed and the method of each run stand in the table of runs.
    assert differing.rows == (
        ("versions.torch", "2.9", "2", "FineTune, LARE"),
        ("versions.torch", "2.10", "1", "LARE"),
    )
    assert agreeing.rows == (
        ("host", "builtin", "all"),
        ("vlm", "{}", "all"),
        ("OPTIM.LR", "0.1", "all"),
        ("TRAINER.LARE.ALPHA", "0.3", "LARE"),
    )


def test_many_values_of_a_setting_are_counted():
    differing, _ = settings_tables([record("LARE", 0, settings={"OPTIM.LR": value}) for value in range(9)])
    assert differing.rows == (("OPTIM.LR", "9 different values", "9", ""),)
