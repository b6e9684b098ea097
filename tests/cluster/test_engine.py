"""The flags of --engine ray, and what is said where Ray is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lare_dassl.cluster.ray_tasks import Demand, Surroundings, run_task, shared_tokens
from lare_dassl.commands.benchmark import command
from lare_dassl.commands.extract import extract
from lare_dassl.errors import InputError, exit_code
from tests.helpers import benchmark_request, extract_request, make_domain_tree, write_embeddings, write_tiny_model


def refuse(given):
    raise InputError(f"no {given}")


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)


NO_RAY = "error: --engine ray needs Ray, which cannot be imported"


def test_a_benchmark_without_ray_is_one_line(tmp_path, capsys, without_ray):
    file = write_embeddings(tmp_path / "data.safetensors")
    words = ["--trainers", "ZeroShot", "--engine", "ray", "--root", file, "--output-dir", tmp_path / "out"]
    words += ["DATASET.NAME", "EmbeddingFile", "EMBEDDINGS.CACHE_DIR", tmp_path / "cache"]
    assert exit_code(lambda: command.benchmark(benchmark_request(*words))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(NO_RAY)
    assert line.endswith("pip install 'lare_dassl[ray]', on every node")


def test_an_extraction_without_ray_is_one_line(tmp_path, capsys, without_ray):
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat"], per_class=6)
    words = ["--engine", "ray", "--output", tmp_path / "out.safetensors", "--root", tmp_path / "images", "--seed", 0]
    words += ["--source-domains", "photo", "--target-domains", "sketch", "--backbone", write_tiny_model(tmp_path)]
    words += ["DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "EMBEDDINGS.CACHE_DIR", tmp_path / "cache"]
    assert exit_code(lambda: extract(extract_request(*words))) == 2
    assert capsys.readouterr().err.startswith(NO_RAY)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--ray-cpus", "2"], "--ray-cpus has no effect without --engine ray"),
        (["--ray-address", "head:6379"], "--ray-address has no effect without --engine ray"),
        (["--engine", "ray", "--ray-cpus", "0"], "--ray-cpus must be at least 0.01, not 0.0"),
        (["--engine", "ray", "--ray-gpus", "-1"], "--ray-gpus must be at least 0, not -1.0"),
        (["--engine", "ray", "--ray-wait", "-5"], "--ray-wait must be at least 0, not -5.0"),
        (["--engine", "ray", "--jobs", "2"], "--jobs has no effect with --engine ray.*"),
    ],
)
def test_flags_that_cannot_be_are_named(flags, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        benchmark_request("--trainers", "ZeroShot", *flags)


def test_a_task_enters_the_folder_of_the_command_and_gives_what_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with shared_tokens({"--output-dir": tmp_path}) as tokens:
        surroundings = Surroundings(tmp_path / "folder", tokens)
        assert run_task(surroundings, lambda given: (given, Path.cwd()), 3) == (3, tmp_path / "folder")
        refusal = run_task(surroundings, refuse, "luck")
        assert refusal.reason.endswith(": no luck")
        assert refusal.reason.startswith("node ")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_folders_that_are_not_the_same_there_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    token = tmp_path / ".shared-0"
    reason = run_task(Surroundings(tmp_path, ((token, "--output-dir"),)), refuse, 0).reason
    assert f"{tmp_path} (--output-dir) is not the same folder there: all nodes must share it" in reason
    reason = run_task(Surroundings(tmp_path / "none"), refuse, 0).reason
    assert f"{tmp_path}/none, where the command was given, is not to be seen there: all nodes" in reason


def test_a_node_fits_that_is_alive_and_large_enough():
    node = {"Alive": True, "Resources": {"CPU": 2.0}}
    assert [Demand(cpus, 0).fits(node) for cpus in (0.5, 2, 3)] == [True, True, False]
    assert not Demand(1, 0.25).fits(node)
    assert Demand(1, 0.25).fits({"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}})
    assert not Demand(1, 0).fits(node | {"Alive": False})
    assert str(Demand(1, 0.25)) == "1 CPUs and 0.25 GPUs"
