"""tools/prepare_data.py as a user runs it: in a process of its own."""

from __future__ import annotations

from tests.tools.test_train_command import ROOT, run_python

TOOL = ROOT / "tools" / "prepare_data.py"


def test_an_unknown_name_is_one_line_with_the_nearest(tmp_path):
    done = run_python(TOOL, "domainnet", cwd=tmp_path)
    known = "cifar100, cub, demo, domainnet_mini, office_home, pacs, vlcs"
    expected = f"error: unknown dataset 'domainnet': did you mean 'domainnet_mini'? known: {known}\n"
    assert (done.returncode, done.stderr) == (2, expected)
