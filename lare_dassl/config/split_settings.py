"""How many images of each class are trained on: the settings, for the table of keys and for datasets/base/splits.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lare_dassl.methods.shared.settings import NOT_NEGATIVE, Allowed, Settings, setting

ALL_SHOTS = -1


@dataclass(frozen=True)
class SplitSettings(Settings):
    """How many images of each class are trained on.

    >>> SplitSettings(shots=4).keeps_all
    False
    """

    shots: int = setting(
        ALL_SHOTS,
        "training images of each class, under a long tail of the largest class; -1 for all",
        Allowed(1, also=ALL_SHOTS),
        key="DATASET.NUM_SHOTS",
    )
    ratio: float = setting(
        1.0,
        "training images of the largest class for each of the smallest, in a random order of the classes that follows "
        "from SEED; 1 for no long tail",
        Allowed(1),
        key="DATASET.LONG_TAIL.RATIO",
    )
    profile: str = setting(
        "exp",
        "sizes of the classes under a long tail: exp falls geometrically, n_max · r^(−c/(C−1)); step gives one half "
        "n_max and the other n_max / r",
        Allowed(choices=("exp", "step")),
        key="DATASET.LONG_TAIL.PROFILE",
    )
    min_images: int = setting(
        0,
        "least size of a class under a long tail; 0 refuses a split that leaves a class empty",
        NOT_NEGATIVE,
        key="DATASET.LONG_TAIL.MIN_IMAGES",
    )

    @classmethod
    def from_cfg(cls, config: Mapping[str, Any]) -> SplitSettings:
        """The settings that a configuration holds in DATASET.NUM_SHOTS and DATASET.LONG_TAIL."""
        dataset, tail = config["DATASET"], config["DATASET"]["LONG_TAIL"]
        return cls(dataset["NUM_SHOTS"], tail["RATIO"], tail["PROFILE"], tail["MIN_IMAGES"])

    @property
    def keeps_all(self) -> bool:
        """Every image is trained on."""
        return self.shots == ALL_SHOTS and self.ratio == 1
