"""How many images of each class are trained on: the settings alone, for config.py and datasets/splits.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lare_dassl.errors import InputError

ALL_SHOTS = -1
PROFILES = ("exp", "step")


@dataclass(frozen=True)
class SplitSettings:
    """How many images of each class are trained on.

    Attributes:
        shots: images per class, under a long tail of the largest class; -1 for all.
        ratio: of the largest class to the smallest, r; 1 for no long tail.
        profile: how the sizes fall from the first class to the last, "exp" or "step", see `profile_counts`.
        min_images: least size of a class under a long tail; 0 refuses classes that would be left empty.

    Raises:
        InputError: a value is out of its range.
    """

    shots: int = ALL_SHOTS
    ratio: float = 1.0
    profile: str = "exp"
    min_images: int = 0

    def __post_init__(self) -> None:
        if self.shots != ALL_SHOTS and self.shots < 1:
            raise InputError(f"DATASET.NUM_SHOTS is {self.shots}: give the images per class, at least 1, or -1 for all")
        if not 1 <= self.ratio < math.inf:
            raise InputError(f"DATASET.LONG_TAIL.RATIO is {self.ratio}: give a finite number, at least 1")
        if self.profile not in PROFILES:
            raise InputError(f"DATASET.LONG_TAIL.PROFILE is '{self.profile}': give one of {', '.join(PROFILES)}")
        if self.min_images < 0:
            raise InputError(f"DATASET.LONG_TAIL.MIN_IMAGES is {self.min_images}: give a number from 0")

    @classmethod
    def from_cfg(cls, cfg: Any) -> SplitSettings:
        """The settings that a configuration holds in DATASET.NUM_SHOTS and DATASET.LONG_TAIL."""
        tail = cfg.DATASET.LONG_TAIL
        return cls(cfg.DATASET.NUM_SHOTS, tail.RATIO, tail.PROFILE, tail.MIN_IMAGES)

    @property
    def keeps_all(self) -> bool:
        """Whether every image is trained on."""
        return self.shots == ALL_SHOTS and self.ratio == 1
