"""Fits of several seeds at once: their parameters stacked, their products batched, their steps one CUDA graph.

Pure torch. S: seeds, N: training images, B: images of a batch. The equations are those of a fit of one seed.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .fitting import FittingSettings, Losses, adamw, check_finite

WARM_UPS = 3


class StackedNetworks:
    """Networks of one architecture whose parameters are stacked, (S, ...) each; every network keeps a view of its own.

    Attributes:
        parameters: the stacked parameters by their names; training them trains the networks.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        if any(True for _ in networks[0].buffers()):
            raise ValueError("networks with buffers cannot be stacked")
        self.parameters: dict[str, Tensor] = {}
        self._architecture = copy.deepcopy(networks[0]).to("meta")
        for name in dict(networks[0].named_parameters()):
            own = [network.get_parameter(name) for network in networks]
            stacked = torch.stack([parameter.data for parameter in own])
            self.parameters[name] = nn.Parameter(stacked)
            for parameter, view in zip(own, stacked, strict=True):
                parameter.data = view

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of a network and further tensors, for all seeds at once.

        The returned function takes those tensors with a first dimension of S, and gives what `function` gives likewise.
        """

        def of_one(parameters: dict[str, Tensor], *tensors: Tensor) -> Any:
            return function(lambda *inputs: functional_call(self._architecture, parameters, inputs), *tensors)

        batched = torch.vmap(of_one)
        return lambda *tensors: batched(self.parameters, *tensors)


class RepeatedStep:
    """A step of training on a batch; on a GPU it is replayed as a CUDA graph from the fourth batch of one size on.

    A graph spares the host's work of starting some hundred small kernels, which is most of the time of a step.

    Args:
        device: of all tensors.
        generators: all that `step` draws from, on the device.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = ()) -> None:
        self._generators = generators
        self._repeats = device.type == "cuda"
        self._seen: dict[int, int] = {}
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, step: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Take a step on a batch.

        Args:
            step: takes row indices (S, B) and gives a tensor of figures; the same function every time.
            rows: the indices.

        Returns:
            The figures; they hold until the next step.
        """
        if not self._repeats:
            return step(rows)
        size = rows.shape[1]
        self._seen[size] = self._seen.get(size, 0) + 1
        if self._seen[size] <= WARM_UPS:
            return _beside(step, rows)
        if size not in self._graphs:
            self._graphs[size] = self._recorded(step, rows)
        graph, place, figures = self._graphs[size]
        place.copy_(rows)
        graph.replay()
        return figures

    def _recorded(self, step: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        graph, place = torch.cuda.CUDAGraph(), rows.clone()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with _no_collection(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            figures = step(place)
        return graph, place, figures


def _beside(step: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """A step on a stream of its own, as recording asks of the steps before it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        figures = step(rows)
    torch.cuda.current_stream().wait_stream(stream)
    return figures


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect what is no longer used now and not within the block: to free another graph would spoil a recording."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def recordable(rate: float, device: torch.device) -> dict[str, Any]:
    """Options of an optimiser whose step can be recorded: its learning rate is read from the device."""
    return {"lr": torch.tensor(rate, device=device), "capturable": True} if device.type == "cuda" else {}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters, in place where a CUDA graph reads it from a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def fit_epochs_together(
    networks: Sequence[nn.Module],
    losses: Losses,
    data: tuple[Tensor, ...],
    settings: FittingSettings,
    *,
    seeds: Sequence[int],
) -> Iterator[tuple[int, list[list[float]]]]:
    """Train a network for each seed as `fitting.fit_epochs` does, all at once.

    Args:
        networks: one for each seed, of one architecture; trained in place.
        losses: see fitting.Losses.
        data: of each seed, (S, N, ...).
        settings: see FittingSettings.
        seeds: S numbers, of the order of the rows.

    Yields:
        After each epoch its number from 1, and for each seed the means of the losses over its rows.

    Raises:
        InputError: the loss of a seed is no longer finite.
    """
    rows, device = data[0].shape[1], data[0].device
    stacked = StackedNetworks(networks)
    optimizer = adamw(list(stacked.parameters.values()), settings, **recordable(settings.lr, device))
    of_batch = stacked.each(lambda network, chosen, *data: losses(network, *(part[chosen] for part in data)))

    def step(chosen: Tensor) -> Tensor:
        parts = of_batch(chosen, *data)
        optimizer.zero_grad()
        parts[0].sum().backward()
        optimizer.step()
        return torch.stack(parts).detach() * chosen.shape[1]

    repeated = RepeatedStep(device)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for epoch in range(1, settings.epochs_for(rows) + 1):
        orders = torch.stack([torch.randperm(rows, generator=generator) for generator in generators]).to(device)
        sums = torch.zeros(1, device=device)
        for chosen in orders.split(settings.batch_size, dim=1):
            sums = sums + repeated(step, chosen)
        means = (sums / rows).T.tolist()
        for of_seed in means:
            check_finite(of_seed[0], epoch)
        yield epoch, means
