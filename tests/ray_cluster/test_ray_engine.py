"""What becomes of tasks on a cluster of several nodes, and of a cluster that is not there."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lare_dassl.cluster import ray_tasks
from lare_dassl.cluster.ray_tasks import ATTEMPTS, Demand, connected
from lare_dassl.errors import ClusterError, InputError
from tests.ray_cluster.conftest import kill_a_busy_node

ONE_CORE = Demand(1, 0)


def noted(folder: Path, name: str) -> int:
    """Note that a task has begun; gives how often it has by now."""
    (folder / f"{name}-{time.monotonic_ns()}-{os.getpid()}").touch()
    return len(list(folder.glob(f"{name}-*")))


def square(number: int) -> int:
    return number * number


def die(folder: Path, number: int) -> int:
    """Task 1 kills every worker that it meets, task 2 the first one."""
    if (noted(folder, str(number)), number) == (1, 2) or number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    raise InputError("no luck today")


def fail(number: int) -> int:
    raise ZeroDivisionError("no mercy")


def slow(folder: Path, number: int) -> int:
    import ray

    noted(folder, str(number))
    (folder / "begun").mkdir(exist_ok=True)
    (folder / "begun" / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(3)
    return number


def test_tasks_give_their_results_with_their_inputs(cluster):
    assert dict(cluster.results(square, range(6), ONE_CORE)) == {number: number**2 for number in range(6)}


def test_a_task_whose_worker_dies_is_repeated_then_given_up(cluster, tmp_path):
    assert dict(cluster.results(partial(die, tmp_path), range(4), ONE_CORE)) == {0: 0, 1: None, 2: 2, 3: 3}
    assert [len(list(tmp_path.glob(f"{number}-*"))) for number in (1, 2)] == [ATTEMPTS, 2]


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (refuse, r"^node \S+: no luck today; what is done is kept"),
        (fail, r"a task failed on the Ray cluster: ZeroDivisionError\('no mercy'\)"),
    ],
)
def test_what_a_task_raises_ends_the_command(cluster, task, says):
    with pytest.raises(ClusterError, match=says):
        list(cluster.results(task, range(2), ONE_CORE))


def test_a_folder_that_is_another_there_is_named(cluster, tmp_path):
    for token, _ in cluster.surroundings.tokens:
        token.unlink()
    with pytest.raises(ClusterError, match=rf"^node \S+: {tmp_path} \(--output-dir\) is not the same folder there: "):
        list(cluster.results(square, range(2), ONE_CORE))


def test_tasks_of_a_node_that_dies_are_done_on_others(cluster, nodes, tmp_path, capfd):
    killer = threading.Thread(target=kill_a_busy_node, args=(nodes, tmp_path / "begun"))
    killer.start()
    done = dict(cluster.results(partial(slow, tmp_path), range(6), ONE_CORE))
    killer.join()
    assert done == {number: number for number in range(6)}
    assert len(list(tmp_path.glob("?-*"))) > 6
    # Ray prints nothing of its own among the results.
    assert capfd.readouterr().out == ""


def test_what_no_node_has_is_one_line_after_a_while(cluster):
    with pytest.raises(ClusterError, match=r"has had no node with 64 CPUs for \d s; what is done is kept"):
        list(cluster.results(square, range(2), Demand(64, 0)))


def test_all_nodes_lost_is_one_line_and_what_was_done_is_given_before(cluster, nodes, tmp_path):
    done = []
    with pytest.raises(ClusterError, match=r"has had no node with 1 CPUs for \d+ s; what is done is kept"):
        for number, _ in cluster.results(partial(slow, tmp_path), range(9), ONE_CORE):
            done.append(number)
            nodes.kill_all()
    assert 0 < len(done) < 9


def test_a_head_that_is_gone_is_one_line(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_tasks, "_answers", lambda address: False)
    monkeypatch.setattr(ray_tasks, "HEAD_SECONDS", 1)
    with pytest.raises(ClusterError, match=r"has had no head that answers for \d s; what is done is kept"):
        list(cluster.results(partial(slow, tmp_path), range(6), ONE_CORE))


def test_a_fraction_of_a_gpu_is_asked_for_where_there_are_any(cluster, monkeypatch):
    assert cluster.demand(cpus=2, gpus=0.25) == Demand(2, 0)
    assert replace(cluster, cpus=0.5, gpus=1.0).demand(cpus=2, gpus=0.25) == Demand(0.5, 1)
    assert (cluster.places(Demand(1, 0)), cluster.places(Demand(8, 0))) == (3, 1)
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    assert cluster.demand(cpus=2, gpus=0.25) == Demand(2, 0.25)
    assert [cluster.places(Demand(2, gpus)) for gpus in (0.0, 0.25, 1.0)] == [8, 8, 2]


@pytest.mark.usefixtures("_ray")
def test_a_cluster_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_tasks, "CONNECT_SECONDS", 8)
    with (
        pytest.raises(ClusterError, match=r"^cannot reach the Ray cluster at 127\.0\.0\.1:1: no answer within 8 s"),
        connected("127.0.0.1:1", {"--output-dir": tmp_path}, {}, patience=5.0),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_ray")
def test_the_client_of_ray_is_refused(tmp_path):
    with pytest.raises(ClusterError, match=r"^--ray-address ray://head:10001: give HOST:PORT"):
        connected("ray://head:10001", {}, {}, patience=5.0).__enter__()
