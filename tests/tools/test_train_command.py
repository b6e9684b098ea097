"""tools/train.py as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lare_dassl.host.door import HOST
from tests.helpers import write_embeddings

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "pandas", "open_clip", "yacs", "rich", "lare_dassl", "dassl"}


def run_python(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with these words, in a folder that is not the repository's, with these environment variables."""
    environment = {**os.environ, "COLUMNS": "200", **variables}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


def test_one_run_end_to_end(tmp_path):
    write_embeddings(tmp_path / "data.safetensors")
    config = ROOT / "configs" / "embedding_file.yaml"
    done = run_python(
        *(ROOT / "tools" / "train.py", "--trainer", "LARE", "--dataset-config-file", config),
        *("--root", "data.safetensors", "--output-dir", "out", "--seed", 0),
        *("OPTIM.MAX_EPOCH", 3, "TRAINER.LARE.EPOCHS", 3),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["trainer"], record["seed"], record["host"]) == ("LARE", 0, HOST)
    rows = dict(re.findall(r"│ +(.+?) +│ +([\d.]+) +│", done.stdout))
    metrics = record["metrics"]
    expected = {
        "accuracy": metrics["accuracy"],
        "in-domain accuracy": metrics["in_domain_accuracy"],
        "out-of-domain accuracy": metrics["out_of_domain_accuracy"],
        "macro-F1": metrics["macro_f1"],
        "calibration error (ECE)": metrics["ece"],
        **{f"accuracy on {name}": value for name, value in metrics["domain_accuracy"].items()},
    }
    assert {title: float(value) for title, value in rows.items()} == pytest.approx(expected, abs=0.0051)
    assert (tmp_path / "out" / "log.txt").read_text() in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(".lock", "classifier.safetensors", "log.txt", "model", "predictions.safetensors", "record.json", "regions"),
        *("split.json", "tensorboard"),
    }


REGISTERED = """
import json
import lare_dassl
from lare_dassl.host import door
names = [registry.registered_names() for registry in (door.TRAINER_REGISTRY, door.DATASET_REGISTRY)]
print(json.dumps([*names, door.get_cfg_default().TRAINER.LARE.SAMPLES_PER_IMAGE]))
"""


def test_importing_the_package_registers_everything(tmp_path):
    done = run_python("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){REGISTERED}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trainers, datasets, samples = json.loads(done.stdout.splitlines()[-1])
    assert {"ZeroShot", "FineTune", "LARE"} <= set(trainers)
    assert {"CUBPainting", "DomainFolders", "EmbeddingFile"} <= set(datasets)
    assert samples == 1


def test_a_refusal_of_the_package_itself_is_one_line(tmp_path):
    done = run_python(ROOT / "tools" / "train.py", "--trainer", "LARE", cwd=tmp_path, LARE_DASSL_HOST="foo")
    expected = "error: unknown LARE_DASSL_HOST value 'foo': known: auto, builtin, dassl\n"
    assert (done.returncode, done.stderr) == (2, expected)
