"""Seconds of an epoch of LARE's stage 1 beside those of its bare matrix products, at CUB's size.

python benchmarks/stage_one_epoch.py
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measuring import BATCH, HIDDEN, WIDTH, in_turns, machine, parser, prepare, seconds, show_ratio, synthetic

from lare_dassl import RegionSettings, fit_regions
from lare_dassl.vlm import available_device


def products(embedding: torch.Tensor, class_text: torch.Tensor) -> Callable[[], None]:
    """The matrix products of an epoch as equations 1 to 5 have them, forward and backward, and nothing else."""
    first, second = (torch.randn(shape, device=embedding.device) for shape in ((WIDTH, HIDDEN), (HIDDEN, 2 * WIDTH)))

    def epoch() -> None:
        for batch in embedding.split(BATCH):
            hidden = batch @ first
            corners = hidden @ second
            for point in (corners[:, :WIDTH], corners[:, WIDTH:], corners[:, :WIDTH]):
                (point @ class_text.T) @ class_text
            hidden.T @ corners, batch.T @ (corners @ second.T)

    return epoch


def main() -> None:
    """Measure, and print the table."""
    arguments = parser(__doc__, repetitions=9).parse_args()
    prepare(arguments.threads)
    device = available_device()
    embeddings = synthetic().to(device)
    rows, text = embeddings.train, embeddings.class_text
    bare = products(rows.embedding, text)

    def fit(epochs: int) -> float:
        settings = RegionSettings(epochs=epochs)
        return seconds(lambda: fit_regions(rows.embedding, rows.label, text, settings=settings), device)

    # The length of an epoch is what a fit of five takes more than a fit of one.
    actions = {
        "an epoch of stage 1": lambda: (fit(5) - fit(1)) / 4,
        "its bare products": lambda: seconds(lambda: [bare() for _ in range(4)], device) / 4,
    }
    show_ratio(f"stage 1 ({machine()})", in_turns(actions, arguments.repetitions))


if __name__ == "__main__":
    main()
