"""Seconds of a whole run of LARE on cached embeddings of CUB's size, beside the loop one writes first.

python benchmarks/lare_and_plain_loop.py

That loop takes as many steps, with torch's defaults: a DataLoader over items, the equations as they stand, a region
for each item, and meters that read each figure at each step, as Dassl's trainers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from measuring import (
    BATCH,
    CLASSES,
    HIDDEN,
    WIDTH,
    Runs,
    in_turns,
    machine,
    parser,
    prepare,
    seconds,
    show_ratio,
    synthetic,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.methods.lare.regions import RegionNetwork, RegionSettings, region_losses, sample_regions


class Meter:
    """The mean of the values so far."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, value: float) -> None:
        """Add a value."""
        self.total, self.count = self.total + value, self.count + 1


def train(model: nn.Module, epochs: int, lr: float, batches: Callable[[], Iterator], loss_of: Callable) -> None:
    """Steps of AdamW, with a meter for each figure."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    meters = {"loss": Meter(), "accuracy": Meter()}
    for _ in range(epochs):
        for batch in batches():
            figures = loss_of(*batch)
            optimiser.zero_grad()
            figures["loss"].backward()
            optimiser.step()
            for name, value in figures.items():
                meters[name].update(value.item())


def plain_run(embeddings: EmbeddingSet, epochs_one: int, epochs_two: int) -> None:
    """Both stages, and the accuracy on the test rows."""
    rows, text, settings = embeddings.train, embeddings.class_text, RegionSettings()
    items = DataLoader(TensorDataset(rows.embedding, rows.label), batch_size=BATCH, shuffle=True)
    network, probe = RegionNetwork(WIDTH, HIDDEN), nn.Linear(WIDTH, CLASSES)

    def loss_of_regions(embedding: Tensor, label: Tensor) -> dict[str, Tensor]:
        return {"loss": region_losses(network(embedding), label, text, 100.0, settings)[0]}

    def loss_of_probe(embedding: Tensor, label: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            sampled = sample_regions(network(embedding))
        logits, labels = probe(torch.cat([embedding, sampled])), label.repeat(2)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits, labels), "accuracy": accuracy}

    train(network, epochs_one, 1e-3, lambda: iter(items), loss_of_regions)
    train(probe, epochs_two, 0.03, lambda: iter(items), loss_of_probe)
    for embedding, _ in DataLoader(TensorDataset(embeddings.test.embedding, embeddings.test.label), batch_size=BATCH):
        probe(embedding).argmax(dim=1)


def main() -> None:
    """Measure, and print the table."""
    arguments = parser(__doc__, repetitions=3).parse_args()
    prepare(arguments.threads)
    embeddings = synthetic()
    runs = Runs(embeddings)

    def trainer() -> Any:
        # The plain loop is one for the CPU.
        return runs.trainer("LARE", "USE_CUDA", "False")

    epochs_one, epochs_two = trainer().stage_one_epochs, trainer().max_epoch

    def lare() -> float:
        return seconds(trainer().train)

    actions = {"LARE": lare, "plain loop": lambda: seconds(lambda: plain_run(embeddings, epochs_one, epochs_two))}
    show_ratio(f"a whole run ({machine()})", in_turns(actions, arguments.repetitions), unit="s", scale=1.0)


if __name__ == "__main__":
    main()
