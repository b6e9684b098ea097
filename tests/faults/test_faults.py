"""Each fault once or twice; `make faults` tries them by the hundred."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.tools.test_train_command import ROOT

KILLS = 12


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The outcome of each fault."""
    folder = tmp_path_factory.mktemp("faults")
    words = [sys.executable, "-m", "tests.faults", "--quick", "--json", str(folder / "rows.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (folder / "rows.json").is_file(), done.stderr
    return json.loads((folder / "rows.json").read_text())


def test_no_kill_loses_anything(rows):
    killed = [row for row in rows if "killed" in row["fault"]]
    assert sum(row["tries"] for row in killed) == KILLS
    assert [row["problems"] for row in killed if row["problems"]] == []


@pytest.mark.parametrize("fault", ["disk full", "permission to write lost"])
def test_no_disk_loses_anything(rows, fault):
    met = [row for row in rows if fault in row["fault"]]
    assert len(met) == 3
    skipped = {row["skipped"] for row in met} - {""}
    if skipped:
        pytest.skip(skipped.pop())
    assert [(row["tries"], row["problems"]) for row in met] == 3 * [(1, [])]


def test_two_at_once_lose_nothing(rows):
    together = [row for row in rows if row["fault"].startswith("two ")]
    assert [(row["tries"], row["problems"]) for row in together] == 4 * [(1, [])]
