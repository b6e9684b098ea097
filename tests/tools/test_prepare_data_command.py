"""tools/prepare_data.py as a user runs it: in a process of its own."""

from __future__ import annotations

from tests.tools.test_train_command import HEAVY, ROOT, run_python

TOOL = ROOT / "tools" / "prepare_data.py"


def test_help_answers_without_importing_torch(tmp_path):
    done = run_python("-X", "importtime", TOOL, "--help", cwd=tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")][1:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "argparse" in imported
    assert not imported & (HEAVY | {"requests"})
    assert all(flag in done.stdout for flag in ("--root", "--no-download", "--sample", "--delete-archives", "NAME"))


def test_an_unknown_name_is_one_line_with_the_nearest(tmp_path):
    done = run_python(TOOL, "domainnet", cwd=tmp_path)
    known = "cifar100, cub, demo, domainnet_mini, office_home, pacs, vlcs"
    expected = f"error: unknown dataset 'domainnet': did you mean 'domainnet_mini'? known: {known}\n"
    assert (done.returncode, done.stderr) == (2, expected)
