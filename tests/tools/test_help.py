"""The flag --help of every tool: it answers at once, and knows each key and method."""

from __future__ import annotations

import re
import sys

import pytest

from tests.tools.test_train_command import HEAVY, ROOT, run_python
from tools import train

FLAGS = {
    "train": "root output-dir resume seed source-domains target-domains transforms config-file dataset-config-file "
    "trainer backbone head eval-only model-dir load-epoch no-train plugin",
    "benchmark": "trainers shots ratios profile seeds set jobs threads plugin",
    "extract": "output dtype engine root",
    "predict": "model-dir top json pretrained batch-size",
    "prepare_data": "root no-download sample delete-archives",
    "report": "output baseline reference run classes",
    "demo": "seeds root output-dir",
}


@pytest.mark.parametrize("tool", FLAGS)
def test_help_answers_without_importing_torch(tool, tmp_path):
    done = run_python("-X", "importtime", ROOT / "tools" / f"{tool}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")][1:]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "argparse" in imported and not imported & (HEAVY | {"requests"})
    assert all(re.search(rf"(^|\s|\[)--{flag}\b", done.stdout) for flag in FLAGS[tool].split())


def help_of(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", name])
    with pytest.raises(SystemExit) as stop:
        train.main()
    return stop.value.code


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("OPTIM.LR", ("OPTIM.LR: ", "default  0.0003, on embeddings 0.03 (float)", "source   Dassl")),
        ("DATASET.TARGET_PROMPTS.sketch", ("DATASET.TARGET_PROMPTS: ",)),
        ("LARE", ("LARE: ", "TRAINER.LARE.ALPHA 0.3", "arXiv 2409.12597")),
        ("TipAdapterF", ("TipAdapterF: ", "OPTIM.LR 0.001", "TRAINER.TIPADAPTER.ALPHA 0.0")),
    ],
)
def test_help_tells_of_a_key_or_a_method(name, says, monkeypatch, capsys):
    assert help_of(name, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in says)


def test_help_names_the_nearest_of_an_unknown_name(monkeypatch, capsys):
    assert help_of("OPTIM.LRR", monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: unknown key or method 'OPTIM.LRR': did you mean 'OPTIM.LR'?")
