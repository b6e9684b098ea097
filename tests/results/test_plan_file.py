from __future__ import annotations

import json
import re

import pytest

from lare_dassl.errors import InputError
from lare_dassl.results.plan_file import read_plan, write_plan
from tests.report.making import planned


def test_a_plan_comes_back(tmp_path):
    runs = (planned("LARE", 0, "LARE/seed0", settings={"OPTIM.LR": 0.1}), planned("LADS", 1, "LADS/seed1", shots=4))
    assert read_plan(tmp_path / "plan.json") == ()
    assert read_plan(write_plan(tmp_path / "plan.json", runs)) == runs


def test_a_plan_without_a_checksum_is_read_as_older_versions_wrote_it(tmp_path):
    run = {"dataset": "A", "shots": -1, "imbalance": 1, "trainer": "LARE", "seed": 0, "config": {}, "folder": "a"}
    (tmp_path / "plan.json").write_text(json.dumps({"format": "plan/1", "runs": [run]}))
    (found,) = read_plan(tmp_path / "plan.json")
    assert found.model_dump() == run


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is no JSON object"),
        ('{"format": "plan/2", "runs": []}', "it is no plan of the format plan/1"),
        ('{"format": "plan/1", "runs": 5}', "it is no plan of the format plan/1"),
        ('{"format": "plan/1", "runs": [{"dataset": "A"}]}', "run 1 holds no usable 'trainer'"),
    ],
)
def test_a_plan_that_cannot_be_read_is_named_in_one_line(tmp_path, text, cause):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match="^" + re.escape(f"cannot read the plan {path}: {cause}") + ".*$"):
        read_plan(path)


def test_a_changed_digit_is_found(tmp_path):
    path = write_plan(tmp_path / "plan.json", [planned("LARE", 1)])
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 7'))
    with pytest.raises(InputError, match="it is damaged: its content does not match its sha256"):
        read_plan(path)
