"""Seconds to train five seeds of LARE together, beside one after another, on embeddings of CUB's size.

python benchmarks/seeds_together.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from measuring import Runs, in_turns, machine, parser, prepare, seconds, show_ratio, synthetic

from lare_dassl.trainers.base.seeds_together import reason_apart, train_together


def main() -> None:
    """Measure, and print the table."""
    flags = parser(__doc__, seeds=5, repetitions=3)
    flags.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings of all runs")
    arguments = flags.parse_args()
    prepare(arguments.threads)
    runs = Runs(synthetic())

    def trainers() -> list[Any]:
        return [runs.trainer("LARE", *arguments.opts, seed=seed) for seed in range(arguments.seeds)]

    def together() -> float:
        ready = trainers()
        reason = reason_apart(ready)
        if reason:
            raise SystemExit(f"these seeds cannot be trained together: {reason}")
        return seconds(lambda: train_together(ready), ready[0].device)

    def one_by_one(train: Callable[[Any], None]) -> float:
        ready = trainers()
        return seconds(lambda: [train(trainer) for trainer in ready], ready[0].device)

    actions = {"together": together, "one after another": lambda: one_by_one(lambda trainer: trainer.train())}
    if torch.cuda.is_available():
        actions["one after another, steps recorded too"] = lambda: one_by_one(lambda trainer: train_together([trainer]))
    times = in_turns(actions, arguments.repetitions)
    show_ratio(f"{arguments.seeds} seeds of LARE, both stages and the test ({machine()})", times, unit="s", scale=1.0)


if __name__ == "__main__":
    main()
