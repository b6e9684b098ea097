"""Tasks on the machines of a Ray cluster, each given out again where its worker is lost. The only file that names ray.

Ray queues the tasks and places them; here is what it leaves open: who may be asked, for how long, and what is said when
the cluster does not answer.
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

# What finds no cluster within this time gives up.
CONNECT_SECONDS = 20
# Ray ends a process whose cluster has had no head for a minute; this is said before.
HEAD_SECONDS = 20
POLL_SECONDS = 1.0
# A task that has lost so many workers is given up.
ATTEMPTS = 4
GO_ON = "what is done is kept: the same command goes on from it"
TOKEN = ".token"
SHARE = "all nodes must share it, under the same path"
# Connecting may hang for minutes, deaf to signals, so a process that can be killed tries it first.
PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"


@dataclass(frozen=True)
class Demand:
    """What a task takes of its node while it runs.

    Attributes:
        cpus: cores.
        gpus: GPUs; a fraction lets several tasks share one.
    """

    cpus: float
    gpus: float

    def fits(self, node: Mapping[str, Any]) -> bool:
        """Whether a node of ray.nodes() is alive, and could run such a task if it were idle."""
        there = node["Resources"]
        return bool(node["Alive"] and there.get("CPU", 0) >= self.cpus and there.get("GPU", 0) >= self.gpus)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs" if self.gpus else f"{self.cpus:g} CPUs"


@dataclass(frozen=True)
class Surroundings:
    """What a task must find on its node.

    Attributes:
        folder: where the command was given; relative paths start from it.
        tokens: files in the folders that all nodes share, each with the flag or key that names its folder.
    """

    folder: Path
    tokens: tuple[tuple[Path, str], ...] = ()

    def enter(self) -> None:
        """Make `folder` the current one of this process.

        Raises:
            InputError: it or a shared folder is not to be seen from here.
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
    """What a task gives that could not be done on its node, and could be on none other."""

    reason: str


def run_task(surroundings: Surroundings, function: Callable[[Any], Any], given: Any) -> Any:
    """What runs on a node: the function on what is given to it; a Refusal where it raises an InputError."""
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
        """What a task takes: as the user says, else `cpus`, and `gpus` where the cluster has any."""
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
        """Run a function on each input and give both, the input and what comes of it, as tasks end.

        A task whose worker is lost is given out again; None comes of one that has lost ATTEMPTS workers.

        Raises:
            ClusterError: the cluster is lost, a node lacks what tasks need, or the function has raised.
        """
        task = self._task(demand)
        waiting = {task.remote(self.surroundings, function, given): (given, 1) for given in inputs}
        try:
            while waiting:
                ended = self._next(list(waiting), demand)
                given, attempt = waiting.pop(ended)
                lost, outcome = self._outcome(ended)
                if lost and attempt < ATTEMPTS:
                    waiting[task.remote(self.surroundings, function, given)] = given, attempt + 1
                else:
                    yield given, outcome
        finally:
            for left in waiting:
                self.ray.cancel(left, force=True)

    def _task(self, demand: Demand) -> Any:
        # Ray's own retries have no end for tasks that run out of memory.
        settings = {"num_cpus": demand.cpus, "num_gpus": demand.gpus, "max_retries": 0}
        return self.ray.remote(run_task).options(**settings, scheduling_strategy="SPREAD")

    def _next(self, waiting: Sequence[Any], demand: Demand) -> Any:
        """The next task that has ended.

        Raises:
            ClusterError: none can any more.
        """
        while True:
            ended, _ = self.ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)
            if ended:
                self._trouble_since.clear()
                return ended[0]
            self._check(demand)

    def _outcome(self, ended: Any) -> tuple[bool, Any]:
        """Whether the worker of a task was lost, and what came of the task.

        Raises:
            ClusterError: a node lacks what the task needs, or the task has raised.
        """
        try:
            outcome = self.ray.get(ended)
        except self.ray.exceptions.RayTaskError as error:
            raise ClusterError(f"a task failed on the Ray cluster: {error.cause!r}; {GO_ON}") from error
        except self.ray.exceptions.RayError:
            return True, None
        if isinstance(outcome, Refusal):
            raise ClusterError(f"{outcome.reason}; {GO_ON}")
        return False, outcome

    def _check(self, demand: Demand) -> None:
        """Note what keeps tasks from running.

        Raises:
            ClusterError: something has done so for too long.
        """
        what, limit = self._trouble(demand)
        now = time.monotonic()
        self._trouble_since = {what: self._trouble_since.get(what, now)}
        seconds = now - self._trouble_since[what]
        if what and seconds > limit:
            raise ClusterError(f"the Ray cluster at {self.address} {what} for {seconds:.0f} s; {GO_ON}")

    def _trouble(self, demand: Demand) -> tuple[str, float]:
        """What is wrong with the cluster, "" where nothing is, and the seconds that it may last."""
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
    ray = _import_ray()
    _probe(address or "auto")
    with shared_tokens(folders) as tokens, _muted(ray):
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


def _import_ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError(
            f"--engine ray needs Ray, which cannot be imported ({error}): pip install 'lare_dassl[ray]', on every node"
        ) from error


@contextmanager
def _muted(ray: Any) -> Iterator[None]:
    """Keep Ray from printing pages of its own logs among the results when a node dies; it has no setting for that."""
    worker, name = ray._private.worker, "print_to_stdstream"
    printing = getattr(worker, name, None)
    setattr(worker, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(worker, name, printing)


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
    """Put a file into each folder for as long as the block runs, for nodes to see that it is the same folder there.

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
    """What makes a process of another node find the same code, and the same host."""
    package = Path(__file__).resolve().parents[2]
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    folders = [str(package), *(str(Path(folder).absolute()) for folder in given)]
    return {"PYTHONPATH": os.pathsep.join(folders), "LARE_DASSL_HOST": door.HOST}


def _answers(address: str) -> bool:
    """Whether something listens at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True
