"""Tasks on the machines of a Ray cluster. The only file that names ray.

Ray queues the tasks, places them, and repeats those whose worker is lost. This file adds what Ray leaves open: which
nodes see the shared folders, how long to wait for a node or a head, and one line for each failure.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lare_dassl.errors import ClusterError, InputError, unwritable
from lare_dassl.host import door
from lare_dassl.io.leftovers import beside, remove_leftovers

CONNECT_SECONDS = 20
# Ray ends a process whose cluster has had no head for a minute, which would leave no message.
HEAD_SECONDS = 20
POLL_SECONDS = 1.0
# Workers that a task may lose before it is given up.
ATTEMPTS = 4
# Ray reads these when it is imported.
SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray would print pages about each dead node to standard output, among the results.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    # Tasks that run out of memory count as lost too; by itself Ray repeats them without end.
    "RAY_task_oom_retries": str(ATTEMPTS - 1),
}
GO_ON = "what is done is kept: the same command goes on from it"
TOKEN = ".token"
SHARE = "all nodes must share it, under the same path"
# Connecting may hang for minutes and ignores signals meanwhile, so a process that can be killed tries it first.
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@dataclass(frozen=True)
class Demand:
    """Resources that a task takes of its node while it runs.

    Attributes:
        cpus: cores.
        gpus: GPUs; a fraction lets several tasks share one.
    """

    cpus: float
    gpus: float

    def fits(self, node: Mapping[str, Any]) -> bool:
        """True for an entry of ray.nodes() that is alive and could run the task if it were idle."""
        there = node["Resources"]
        return bool(node["Alive"] and there.get("CPU", 0) >= self.cpus and there.get("GPU", 0) >= self.gpus)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs" if self.gpus else f"{self.cpus:g} CPUs"


@dataclass(frozen=True)
class Surroundings:
    """Folders that a task must find on its node.

    Attributes:
        folder: where the command was given; relative paths start from it.
        tokens: files in the folders that all nodes share, each with the flag or key that names its folder.
    """

    folder: Path
    tokens: tuple[tuple[Path, str], ...] = ()

    def enter(self) -> None:
        """Make `folder` the current one of this process.

        Raises:
            InputError: it or a shared folder is not there.
        """
        for token, purpose in self.tokens:
            if not token.is_file():
                raise InputError(f"{token.parent} ({purpose}) is not the same folder there: {SHARE}")
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(f"{self.folder}, where the command was given, is not to be seen there: {SHARE}") from error


@dataclass(frozen=True)
class Refusal:
    """The result of a task that its node cannot do, and no other node could do either."""

    reason: str


def run_task(surroundings: Surroundings, function: Callable[[Any], Any], given: Any) -> Any:
    """Call a function on a node; an InputError becomes a Refusal that names the node."""
    try:
        surroundings.enter()
        return function(given)
    except InputError as error:
        return Refusal(f"node {platform.node()}: {error}")


@dataclass
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        ray: the module.
        address: of its head.
        surroundings: of all tasks.
        patience: seconds that it may be without a node for a task.
        demand: of each task; `gpus` None takes a fraction where the cluster has GPUs.
    """

    ray: Any
    address: str
    surroundings: Surroundings
    patience: float
    cpus: float | None = None
    gpus: float | None = None
    _trouble_since: dict[str, float] = field(default_factory=dict)

    def demand(self, cpus: float, gpus: float) -> Demand:
        """The demand of a task: the user's numbers, else `cpus`, and `gpus` where the cluster has any."""
        usual = gpus if self.ray.cluster_resources().get("GPU", 0) else 0.0
        return Demand(self.cpus or cpus, usual if self.gpus is None else self.gpus)

    def places(self, demand: Demand) -> int:
        """How many such tasks the cluster could run at a time; at least 1."""
        whole = self.ray.cluster_resources()
        by_gpus = [int(whole.get("GPU", 0) / demand.gpus)] if demand.gpus else []
        return max(1, min([int(whole.get("CPU", 0) / demand.cpus), *by_gpus]))

    def results(
        self, function: Callable[[Any], Any], inputs: Iterable[Any], demand: Demand
    ) -> Generator[tuple[Any, Any], None, None]:
        """Run a function on each input and give pairs of input and result as tasks end.

        Ray repeats a task whose worker is lost; one that has lost ATTEMPTS workers gives None.

        Raises:
            ClusterError: the cluster is lost, a node lacks what tasks need, or the function has raised.
        """
        task = self.ray.remote(run_task).options(
            num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=ATTEMPTS - 1, scheduling_strategy="SPREAD"
        )
        waiting = {task.remote(self.surroundings, function, given): given for given in inputs}
        try:
            while waiting:
                ended = self._next(list(waiting), demand)
                yield waiting.pop(ended), self._outcome(ended)
        finally:
            for left in waiting:
                self.ray.cancel(left, force=True)

    def _next(self, waiting: Sequence[Any], demand: Demand) -> Any:
        """Wait for the next task that ends.

        Raises:
            ClusterError: the cluster can run none.
        """
        while True:
            ended, _ = self.ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)
            if ended:
                self._trouble_since.clear()
                return ended[0]
            self._check(demand)

    def _outcome(self, ended: Any) -> Any:
        """The result of a task; None where it has lost too many workers.

        Raises:
            ClusterError: a node lacks what the task needs, or the task has raised.
        """
        try:
            outcome = self.ray.get(ended)
        except self.ray.exceptions.RayTaskError as error:
            raise ClusterError(f"a task failed on the Ray cluster: {error.cause!r}; {GO_ON}") from error
        except self.ray.exceptions.RayError:
            return None
        if isinstance(outcome, Refusal):
            raise ClusterError(f"{outcome.reason}; {GO_ON}")
        return outcome

    def _check(self, demand: Demand) -> None:
        """Note what keeps tasks from running.

        Raises:
            ClusterError: it has lasted too long.
        """
        what, limit = self._trouble(demand)
        now = time.monotonic()
        self._trouble_since = {what: self._trouble_since.get(what, now)}
        seconds = now - self._trouble_since[what]
        if what and seconds > limit:
            raise ClusterError(f"the Ray cluster at {self.address} {what} for {seconds:.0f} s; {GO_ON}")

    def _trouble(self, demand: Demand) -> tuple[str, float]:
        """The cluster's trouble in words, "" for none, and the seconds that it may last."""
        if not _answers(self.address):
            return "has had no head that answers", HEAD_SECONDS
        if not any(demand.fits(node) for node in self.ray.nodes()):
            return f"has had no node with {demand}", self.patience
        return "", 0.0


@contextmanager
def connected(
    address: str, folders: Mapping[str, Path], environment: Mapping[str, str], **settings: Any
) -> Iterator[Cluster]:
    """Connect to a cluster.

    Args:
        address: "host:port" of its head; "" for RAY_ADDRESS, or the one that runs on this machine.
        folders: those that all nodes must share, by the flag or key that names them.
        environment: variables of the processes that run tasks.
        settings: of Cluster.

    Raises:
        ClusterError: ray is not installed, or there is no such cluster, or none that answers.
    """
    ray = import_ray()
    _probe(address or "auto")
    with shared_tokens(folders) as tokens:
        try:
            ray.init(
                address=address or "auto",
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _environment() | dict(environment)},
            )
            head = ray.get_runtime_context().gcs_address
            yield Cluster(ray, head, Surroundings(Path.cwd(), tokens), **settings)
        finally:
            ray.shutdown()


def import_ray() -> Any:
    """Import Ray with the settings that this file needs.

    Raises:
        ClusterError: it is not installed.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError(
            f"--engine ray needs Ray, which cannot be imported ({error}): pip install 'lare_dassl[ray]', on every node"
        ) from error


def _probe(address: str) -> None:
    """Connect in a process of its own.

    Raises:
        ClusterError: it fails, or takes too long.
    """
    if address.startswith("ray://"):
        raise ClusterError(f"--ray-address {address}: give HOST:PORT, from a machine that is a node of the cluster")
    words = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CONNECT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(_unreachable(address, f"no answer within {CONNECT_SECONDS} s")) from error
    if done.returncode:
        raise ClusterError(_unreachable(address, (done.stderr.strip() or "no reason given").splitlines()[-1]))


def _unreachable(address: str, cause: str) -> str:
    where = "a Ray cluster on this machine" if address == "auto" else f"the Ray cluster at {address}"
    return f"cannot reach {where}: {cause} (docs/ray.md says how to start one; --ray-address names another)"


@contextmanager
def shared_tokens(folders: Mapping[str, Path]) -> Iterator[tuple[tuple[Path, str], ...]]:
    """Put a file into each folder while the block runs, by which nodes recognise the folder as shared.

    Raises:
        InputError: a folder cannot be written to.
    """
    tokens = tuple((beside(folder.absolute() / "shared", TOKEN), purpose) for purpose, folder in folders.items())
    try:
        for token, purpose in tokens:
            remove_leftovers(token.parent, TOKEN)
            _touch(token, purpose)
        yield tokens
    finally:
        for token, _ in tokens:
            with suppress(OSError):
                token.unlink()


def _touch(token: Path, purpose: str) -> None:
    try:
        token.touch()
    except OSError as error:
        raise unwritable(f"to {token.parent} ({purpose})", error) from error


def _environment() -> dict[str, str]:
    """Environment variables with which a process on another node finds the same code and the same host."""
    package = Path(__file__).resolve().parents[2]
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    folders = [str(package), *(str(Path(folder).absolute()) for folder in given)]
    return {"PYTHONPATH": os.pathsep.join(folders), "LARE_DASSL_HOST": door.HOST}


def _answers(address: str) -> bool:
    """True where something listens at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True
