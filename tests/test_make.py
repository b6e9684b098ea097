from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_install_names_the_python_that_it_needs(tmp_path):
    command = ["make", "--silent", "install", "PYTHON=false", f"VENV={tmp_path}/venv"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert result.stderr.splitlines()[0] == (
        "Python 3.11 or later is needed; false is older or missing. Name another: make install PYTHON=python3.12"
    )
    assert not (tmp_path / "venv").exists()
