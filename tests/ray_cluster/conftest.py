"""A cluster of Ray on this machine: a head that runs nothing, and nodes of one core."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lare_dassl.cluster.ray_tasks import Cluster, Surroundings, connected, import_ray, shared_tokens
from lare_dassl.errors import ClusterError

NODES = 3
ROOT = Path(__file__).parents[2]
OBJECT_STORE = 80 * 2**20


class Nodes:
    """The cluster, of which nodes can be taken away."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        self.cluster = RayCluster(initialize_head=True, head_node_args=head)
        self.workers: list[Any] = []
        self.fill()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def fill(self) -> None:
        """Make them NODES again."""
        while len(self.workers) < NODES:
            self.workers.append(self.cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE))

    def kill(self, node_id: str) -> None:
        """Take a node away with all its processes, without a word."""
        (node,) = (node for node in self.workers if node.node_id == node_id)
        self.workers.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_all(self) -> None:
        """Leave the head alone."""
        for node in list(self.workers):
            self.kill(node.node_id)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The threads of a task, so that both compute alike."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _ray() -> None:
    """What needs Ray is left out where it is not installed."""
    try:
        import_ray()
    except ClusterError:
        pytest.skip("Ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="session")
def _nodes(_ray: None) -> Any:
    nodes = Nodes()
    yield nodes
    nodes.cluster.shutdown()


@pytest.fixture
def nodes(_nodes: Nodes) -> Nodes:
    """The nodes, all of them there."""
    _nodes.fill()
    return _nodes


@pytest.fixture(scope="module")
def _connection(_nodes: Nodes) -> Any:
    """Made once, since the processes of the nodes are started anew for each."""
    with connected(_nodes.address, {}, {"OMP_NUM_THREADS": "1"}, patience=5.0) as connection:
        yield connection


@pytest.fixture
def cluster(nodes: Nodes, _connection: Cluster, tmp_path: Path) -> Any:
    """A connection to the nodes, which are to see the test's folder."""
    with shared_tokens({"--output-dir": tmp_path}) as tokens:
        yield replace(_connection, surroundings=Surroundings(ROOT, tokens))


def kill_a_busy_node(nodes: Nodes, begun: Path, seconds: float = 60.0) -> None:
    """Wait until a task has left a file called as its node in a folder, and kill that node."""
    until = time.monotonic() + seconds
    while not (busy := list(begun.glob("*"))) and time.monotonic() < until:
        time.sleep(0.05)
    nodes.kill(busy[0].name)
