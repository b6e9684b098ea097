"""Seconds of an epoch of LARE's stage 2, one regional sample of each image, beside its bare matrix products.

python benchmarks/stage_two_epoch.py
"""

from __future__ import annotations

import torch
from measuring import BATCH, Runs, in_turns, machine, parser, prepare, seconds, show_ratio, synthetic


def bare_epoch(embedding: torch.Tensor, weight: torch.Tensor) -> None:
    """The products of the linear layer with real embeddings and as many samples, forward and backward."""
    for batch in embedding.split(BATCH):
        mixed = batch.expand(2, *batch.shape).reshape(-1, batch.shape[1])
        (mixed @ weight.T).T @ mixed


def main() -> None:
    """Measure, and print the table."""
    arguments = parser(__doc__, repetitions=15).parse_args()
    prepare(arguments.threads)
    embeddings = synthetic()
    runs = Runs(embeddings)
    trainer = runs.trainer("LARE", "TRAINER.LARE.EPOCHS", 1)
    trainer.before_train()
    rows, weight = trainer.train_rows.embedding, trainer.model.weight.detach()
    actions = {
        "an epoch of stage 2": lambda: seconds(trainer.run_epoch, trainer.device),
        "its bare products": lambda: seconds(lambda: bare_epoch(rows, weight), trainer.device),
    }
    show_ratio(f"stage 2 ({machine()})", in_turns(actions, arguments.repetitions))


if __name__ == "__main__":
    main()
