"""open_clip's preprocessing of images, divided into resizing and scaling. B: batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Resize:
    """Transforms of a PIL image, one after another: PIL image → uint8 tensor (height, width, 3). It can be pickled."""

    transforms: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Any) -> Tensor:
        for transform in self.transforms:
            image = transform(image)
        return torch.from_numpy(np.array(image))


@dataclass(frozen=True)
class PreprocessParts:
    """A preprocessing in two parts, whose result is that of the whole to the bit.

    Attributes:
        resize: PIL image → uint8 tensor (height, width, 3); or all of the preprocessing where it cannot be divided.
        scale: uint8 (B, height, width, 3) → float32 (B, 3, height, width), on the device that it is given.
    """

    resize: Callable[[Any], Tensor]
    scale: Callable[[Tensor], Tensor]


def split_preprocess(preprocess: Any) -> PreprocessParts:
    """Divide open_clip's transform into resizing and scaling (bytes to numbers of a certain mean and spread).

    Scaling takes a quarter of the time, holds Python's lock, and makes images four times as large, so it is done on
    whole batches.
    """
    transforms = list(getattr(preprocess, "transforms", ()))
    ends = [type(transform).__name__ for transform in transforms[-2:]]
    if ends not in (["MaybeToTensor", "Normalize"], ["ToTensor", "Normalize"]):
        return PreprocessParts(preprocess, lambda pixels: pixels)
    *resizing, _, normalize = transforms

    def scale(pixels: Tensor) -> Tensor:
        # Division by a number is a product with 1/255 on a GPU, which is rounded differently.
        greatest = torch.tensor(255.0, device=pixels.device)
        mean, spread = (
            torch.tensor(part, device=pixels.device)[:, None, None] for part in (normalize.mean, normalize.std)
        )
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(greatest).sub_(mean).div_(spread)

    return PreprocessParts(Resize(tuple(resizing)), scale)
