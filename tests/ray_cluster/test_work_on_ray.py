"""Runs and shards of images on a cluster: they give what they give in one process, to the last digit."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lare_dassl.cluster import ray_tasks
from lare_dassl.commands.benchmark.cluster_execution import outcomes_on
from lare_dassl.commands.benchmark.execution import outcomes, units
from lare_dassl.commands.benchmark.plan import make_plan
from lare_dassl.encoding import build, shards
from lare_dassl.errors import ClusterError, UnreadableError
from tests import helpers
from tests.commands.benchmark.conftest import QUICK, metrics_below
from tests.helpers import make_domain_tree, write_embeddings
from tests.ray_cluster.conftest import NODES, kill_a_busy_node

IMAGES = 46
PLUGIN = """
import time
from pathlib import Path
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import FineTune


@TRAINER_REGISTRY.register()
class WaitingProbe(FineTune):
    def prepare_training(self, directory):
        super().prepare_training(directory)
        begun = directory.parent / "begun"
        begun.mkdir(exist_ok=True)
        import ray
        # In the test's own process nobody waits.
        if ray._private.worker.global_worker.mode == ray.WORKER_MODE:
            (begun / ray.get_runtime_context().get_node_id()).touch()
            time.sleep(2)
"""


def planned_runs(folder: Path, *flags: object):
    words = [*flags, "--root", write_embeddings(folder / "data.safetensors"), "--output-dir", folder / "out", *QUICK]
    return make_plan(helpers.benchmark_request(*words)).runs


def check_same_in_one_process(folder: Path, runs, count: int) -> None:
    """The runs that were done on the cluster give the same records in this process."""
    on_cluster = metrics_below(folder / "out")
    (folder / "out").rename(folder / "cluster")
    assert {reason for _, reason in outcomes(units(runs), jobs=1, threads=1)} == {""}
    assert len(on_cluster) == count
    assert metrics_below(folder / "out") == on_cluster


def test_a_benchmark_on_a_cluster_gives_the_records_of_one_process(cluster, tmp_path):
    flags = ("--trainers", "ZeroShot", "FineTune", "LARE", "--shots", 2, "all", "--seeds", 2)
    runs = planned_runs(tmp_path, *flags)
    assert {reason for _, reason in outcomes_on(cluster, units(runs), 1)} == {""}
    check_same_in_one_process(tmp_path, runs, 12)


def test_runs_of_a_node_that_dies_half_way_end_elsewhere_with_the_same_numbers(cluster, nodes, tmp_path, monkeypatch):
    # Tasks look for plugins in the folder where the command was given.
    (tmp_path / "waiting_plugin.py").write_text(PLUGIN)
    helpers.forget_plugins(monkeypatch, "waiting_plugin")
    monkeypatch.chdir(tmp_path)
    here = replace(cluster, surroundings=replace(cluster.surroundings, folder=tmp_path))
    runs = planned_runs(tmp_path, "--plugin", "waiting_plugin", "--trainers", "WaitingProbe", "--seeds", 6)
    killer = threading.Thread(target=kill_a_busy_node, args=(nodes, runs[0].folder.parent / "begun"))
    killer.start()
    assert {reason for _, reason in outcomes_on(here, units(runs), 1)} == {""}
    killer.join()
    assert len(nodes.workers) == NODES - 1
    assert max(path.read_text().count("host: ") for path in tmp_path.glob("out/**/log.txt")) == 2
    check_same_in_one_process(tmp_path, runs, 6)


@pytest.fixture
def cfg(tmp_path):
    """The configuration of an encoding of 46 images in batches of 4."""
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], ["cat"], per_class=IMAGES // 2)
    return helpers.make_cfg(
        MODEL__BACKBONE__NAME=helpers.write_tiny_model(tmp_path / "model"),
        **{"VLM__ALLOW_RANDOM": True, "VLM__PRECISION": "fp32", "EMBEDDINGS__BATCH_SIZE": 4},
        **{"EMBEDDINGS__CACHE_DIR": tmp_path / "cache", "DATALOADER__NUM_WORKERS": 0},
    )


def images_of(folder):
    return sorted((folder / "images").rglob("*.png"))


def encoded_here(cfg, folder, paths):
    alone = cfg.clone()
    alone.EMBEDDINGS.CACHE_DIR = str(folder / "alone")
    return build.build_encoder(alone).encode_images(paths)[0]


def test_shards_give_the_embeddings_of_one_process_to_the_bit(cluster, cfg, tmp_path):
    paths = images_of(tmp_path)
    assert shards.encode_on(cluster, cfg, paths) == IMAGES
    embedding, report = build.build_encoder(cfg).encode_images(paths)
    assert report.decoded == 0
    assert torch.equal(embedding, encoded_here(cfg, tmp_path, paths))
    assert shards.encode_on(cluster, cfg, paths) == 0


def test_unreadable_images_are_named_as_ever_and_the_others_kept(cluster, cfg, tmp_path):
    paths = images_of(tmp_path)
    paths[5].write_bytes(b"no image")
    shards.encode_on(cluster, cfg, paths)
    encoder = build.build_encoder(cfg)
    assert encoder.missing_images(paths) == [paths[5]]
    with pytest.raises(UnreadableError, match=f"^1 of {IMAGES} images cannot be read: {paths[5]} "):
        encoder.encode_images(paths)


def test_images_that_nodes_do_not_see_are_named(cluster, cfg, tmp_path, monkeypatch):
    paths = images_of(tmp_path)
    monkeypatch.setattr(build.Encoder, "missing_images", lambda self, _: [*paths, tmp_path / "local.png"])
    with pytest.raises(ClusterError, match=rf"^node \S+: {tmp_path}/local\.png is not to be seen there"):
        shards.encode_on(cluster, cfg, paths)


def test_a_shard_that_is_lost_again_and_again_is_one_line(cfg, tmp_path):
    class Losing:
        demand = staticmethod(lambda cpus, gpus: ray_tasks.Demand(cpus, 0))
        places = staticmethod(lambda demand: 1)

        def results(self, function, inputs, demand):
            yield next(iter(inputs)), None

    with pytest.raises(ClusterError, match=r"the worker that encoded \S+\.png was lost again and again; what is done"):
        shards.encode_on(Losing(), cfg, images_of(tmp_path))


@pytest.mark.parametrize(
    ("images", "batch", "places", "size"), [(46, 4, 3, 4), (10_000, 64, 4, 640), (10**6, 64, 2, 1024), (0, 64, 1, 64)]
)
def test_shards_are_whole_batches(images, batch, places, size):
    assert shards.shard_size(images, batch, places) == size
