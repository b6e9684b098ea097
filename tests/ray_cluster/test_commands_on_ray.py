"""tools/benchmark.py and tools/extract.py with --engine ray, each with a connection of its own."""

from __future__ import annotations

import pytest
import torch

from lare_dassl.cluster import ray_tasks
from lare_dassl.commands.benchmark import command
from lare_dassl.commands.extract import extract as extract_command
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.errors import exit_code
from tests.commands.benchmark.conftest import metrics_below
from tests.helpers import benchmark_request, extract_request, make_domain_tree, write_tiny_model

KEYS = ["DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"]
KEYS += ["DATASET.SOURCE_DOMAINS", "['photo']", "DATASET.TARGET_DOMAINS", "['sketch']", "DATALOADER.NUM_WORKERS", "0"]


@pytest.fixture
def flags(tmp_path):
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat", "dog"], per_class=12)
    return ["--root", tmp_path / "images", "--backbone", write_tiny_model(tmp_path / "model")]


@pytest.mark.usefixtures("progress_bars")
def test_a_benchmark_on_a_cluster_does_all_and_then_finds_all_done(nodes, flags, tmp_path, monkeypatch, capsys):
    def benchmark(name, *engine):
        keys = [*KEYS, "OPTIM.MAX_EPOCH", 4, "EMBEDDINGS.CACHE_DIR", tmp_path / f"cache_{name}"]
        words = ["--trainers", "ZeroShot", "FineTune", "--seeds", 1, *flags, "--output-dir", tmp_path / name, *engine]
        return exit_code(lambda: command.benchmark(benchmark_request(*words, *keys)))

    on_ray = ("--engine", "ray", "--ray-address", nodes.address)
    assert benchmark("ray", *on_ray) == 0
    shown = capsys.readouterr()
    assert "2 runs: 0 are done, 2 to do" in shown.out
    assert "encoding images on Ray: 100%" in shown.err
    assert "runs, on Ray: 100%" in shown.err
    assert list(tmp_path.rglob(".shared.*")) == []
    assert benchmark("local", "--jobs", 1) == 0
    assert metrics_below(tmp_path / "ray") == metrics_below(tmp_path / "local")
    monkeypatch.setattr(ray_tasks, "_probe", None)
    assert benchmark("ray", *on_ray) == 0


def test_an_extraction_on_a_cluster_writes_the_same_file(nodes, flags, tmp_path, capsys):
    def extract(name, *engine):
        keys = [*KEYS, "EMBEDDINGS.CACHE_DIR", tmp_path / f"cache_{name}", "EMBEDDINGS.BATCH_SIZE", 4]
        words = ["--output", tmp_path / f"{name}.safetensors", "--seed", 0, *flags, *engine, *keys]
        assert exit_code(lambda: extract_command(extract_request(*words))) == 0
        return read_embedding_file(tmp_path / f"{name}.safetensors")

    on_cluster = extract("ray", "--engine", "ray", "--ray-address", nodes.address)
    assert "48 images, 48 decoded now" in capsys.readouterr().out
    alone = extract("local")
    for name, rows in alone.splits().items():
        assert torch.equal(rows.embedding, on_cluster.splits()[name].embedding)
    assert torch.equal(alone.class_text, on_cluster.class_text)
