"""A trainer of CoOp's repository runs from our command line, on a tiny tree of images and a CLIP of random weights.

LARE_DASSL_COOP names a folder with CoOp's repository (github.com/KaiyangZhou/CoOp).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from lare_dassl.host.door import HOST
from lare_dassl.results.record import read_record
from tests.helpers import make_domain_tree, write_tiny_model

COOP = os.environ.get("LARE_DASSL_COOP", "")
PROJECT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(HOST != "dassl", reason="CoOp needs the real Dassl, and none is installed"),
    pytest.mark.skipif(not COOP, reason="LARE_DASSL_COOP does not name a folder with CoOp's repository"),
]

# Stands in for the download of CLIP's weights; imported as a second plugin.
RANDOM_CLIP = """
import torch
import trainers.coop
from clip.model import CLIP


def random_clip(cfg):
    torch.manual_seed(0)
    return CLIP(
        embed_dim=16, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=16,
        context_length=77, vocab_size=49408, transformer_width=32, transformer_heads=2, transformer_layers=1,
    )


trainers.coop.load_clip_to_cpu = random_clip
"""

# Like the settings that CoOp ships, warm-up included.
SETTINGS = """
DATALOADER: {NUM_WORKERS: 0, TRAIN_X: {BATCH_SIZE: 4}, TEST: {BATCH_SIZE: 8}}
INPUT:
  SIZE: (32, 32)
  INTERPOLATION: "bicubic"
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]
OPTIM: {NAME: sgd, LR: 0.002, LR_SCHEDULER: cosine, WARMUP_EPOCH: 1, WARMUP_TYPE: constant, WARMUP_CONS_LR: 1e-5}
MODEL: {BACKBONE: {NAME: "ViT-B/32"}}
TRAINER: {COOP: {N_CTX: 4, PREC: fp32}}
"""
DATASET = """
DATASET: {NAME: DomainFolders, SOURCE_DOMAINS: [photo], TARGET_DOMAINS: [sketch]}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coop")
    make_domain_tree(folder / "images", ["photo", "sketch"], ["heron", "owl"], per_class=10)
    for name, text in (("random_clip.py", RANDOM_CLIP), ("coop.yaml", SETTINGS), ("data.yaml", DATASET)):
        (folder / name).write_text(text)
    return folder


def train(work, *flags):
    return call(work, "train", "--trainer", "CoOp", "--config-file", "coop.yaml", "--seed", "1", *flags)


def call(work, tool, *flags):
    """Run a tool on the images with CoOp's trainers at hand, and give its output."""
    path = os.pathsep.join([COOP, str(work), *sys.path])
    plugins = ["--plugin", "trainers.coop", "--plugin", "random_clip"]
    data = ["--dataset-config-file", "data.yaml", "--root", str(work / "images")]
    result = subprocess.run(
        [sys.executable, str(PROJECT / "tools" / f"{tool}.py"), *plugins, *data, *flags],
        cwd=work,
        env={**os.environ, "PYTHONPATH": path, "LARE_DASSL_HOST": "dassl", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def accuracy(output):
    (line,) = [line for line in output.splitlines() if line.startswith("* accuracy: ")]
    return line


def test_coop_trains_resumes_and_is_tested(work):
    run = ["--output-dir", str(work / "run")]
    train(work, *run, "OPTIM.MAX_EPOCH", "1")
    whole = train(work, *run, "OPTIM.MAX_EPOCH", "2")
    assert "epoch [2/2]" in whole
    assert "epoch [1/2]" not in whole
    state = torch.load(work / "run" / "prompt_learner" / "model.pth.tar-2", weights_only=True)
    assert state["state_dict"]["ctx"].shape == (4, 32)
    assert [path.name for path in (work / "run").glob("log*")] == ["log.txt"]

    record = read_record(work / "run" / "record.json")
    assert (record.trainer, record.seed, record.host) == ("CoOp", 1, "dassl")
    # Both domains have as many test images, and Dassl's own evaluator rounds to 0.1.
    domains = record.metrics.domain_accuracy
    counts = Counter(path.split("/")[0] for path in json.loads((work / "run" / "split.json").read_text())["test"])
    overall = sum(domains[name] * counts[name] for name in domains) / sum(counts.values())
    assert set(domains) == {"photo", "sketch"}
    assert record.metrics.accuracy == pytest.approx(overall)
    assert accuracy(whole) == f"* accuracy: {record.metrics.accuracy:.1f}%"

    tested = train(work, "--eval-only", "--model-dir", str(work / "run"), "--load-epoch", "2")
    assert accuracy(tested) == accuracy(whole)


def test_coop_selects_the_best_model_on_validation_images(work):
    flags = ["OPTIM.MAX_EPOCH", "1", "TEST.FINAL_MODEL", "best_val"]
    output = train(work, "--output-dir", str(work / "best"), *flags)
    assert "Evaluate on the *val* set" in output
    assert (work / "best" / "prompt_learner" / "model-best.pth.tar").is_file()


def test_coop_stands_in_one_table_with_our_trainers(work):
    model = write_tiny_model(work / "model")
    (work / "ours.yaml").write_text(
        f"""
MODEL: {{BACKBONE: {{NAME: "{model}"}}}}
VLM: {{ALLOW_RANDOM: True, PRECISION: fp32}}
EMBEDDINGS: {{CACHE_DIR: "{work / "cache"}"}}
"""
    )
    settings = ["--config-of", "CoOp", "coop.yaml", "--config-of", "FineTune", "ours.yaml"]
    command = [*settings, "--trainers", "FineTune", "CoOp", "--shots", "2", "4", "--seeds", "2", "--jobs", "2"]
    output = call(work, "benchmark", *command, "--output-dir", "bench", "OPTIM.MAX_EPOCH", "1")
    records = [read_record(path) for path in sorted((work / "bench").rglob("record.json"))]
    assert Counter((record.trainer, record.shots, record.seed) for record in records) == {
        (trainer, shots, seed): 1 for trainer in ("FineTune", "CoOp") for shots in (2, 4) for seed in (0, 1)
    }
    splits = {(record.shots, record.seed, record.split_sha256) for record in records}
    assert len(splits) == 4
    assert all(record.samples["train"] == 2 * record.shots for record in records)
    rows = [line for line in output.splitlines() if "CoOp" in line]
    assert len(rows) == 2
    for row, shots in zip(rows, (2, 4), strict=True):
        values = [
            record.metrics.out_of_domain_accuracy
            for record in records
            if (record.trainer, record.shots) == ("CoOp", shots)
        ]
        assert f"{sum(values) / 2:.1f} ± {abs(values[0] - values[1]) / 2**0.5:.1f}" in row
    assert "CoOp" in (work / "bench" / "report.html").read_text()

    # A second call runs nothing anew.
    assert "8 runs: 8 are done, 0 to do" in call(
        work, "benchmark", *command, "--output-dir", "bench", "OPTIM.MAX_EPOCH", "1"
    )
