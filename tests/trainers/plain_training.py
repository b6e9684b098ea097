"""Training by a plain loop: what a trainer's weights are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def train_plainly(parameters: Iterable[Tensor], loss_of: Callable[[Tensor], Tensor], lr: float = 0.03) -> None:
    """Six epochs of AdamW with a cosine schedule; `loss_of` takes the indices of a batch, 16 of 40 rows."""
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=6)
    for epoch in range(6):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(epoch))
        for part in order.split(16):
            optimiser.zero_grad()
            loss_of(part).backward()
            optimiser.step()
        schedule.step()
