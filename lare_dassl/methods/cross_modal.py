"""Cross-modal adaptation: class texts as further training samples of a linear probe (Lin et al., CVPR 2023).

Pure torch. N: training images, B: images of a batch, D: embedding width, C: classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lare_dassl.errors import InputError


@dataclass(frozen=True)
class ClassTexts:
    """The class text embedding of each image's class, added once for each image.

    The paper fills one half of each batch with images and the other with texts, drawn from the prompts of all classes
    alike. Here the texts of a batch are those of its images' classes. With as many images of each class that is the
    same mix over an epoch; where classes differ in size, the texts follow the images, and every class keeps as many
    texts as it has images. A class has one text, the mean of its prompts.

    Attributes:
        class_text: unit-length class text embeddings, (C, D).
        label: classes of the training images, int64 (N,), each in [0, C).

    Raises:
        InputError: a label lies outside [0, C).
    """

    class_text: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        low, high = int(self.label.min()), int(self.label.max())
        if low < 0 or high >= len(self.class_text):
            raise InputError(f"labels must lie in [0, {len(self.class_text)}), got {low} to {high}")

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return len(self.label), self.class_text.shape[1]

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        """One block (B, D), the text of each image's class; nothing is left to chance."""
        return [self.class_text[self.label[indices]]]
