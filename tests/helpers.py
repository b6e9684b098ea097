"""What several tests need: small images, trees of them, and configs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lare_dassl import config


def write_image(path: Path, seed: int) -> Path:
    """Write a 16 x 16 image of noise; the suffix of the path says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make_domain_tree(root: Path, domains: Sequence[str], classes: Sequence[str], per_class: int) -> Path:
    """Write images <root>/<domain>/<class>/<number>.png, `per_class` in each class folder."""
    folders = [root / domain / name for domain in domains for name in classes]
    for place, folder in enumerate(folders):
        for number in range(per_class):
            write_image(folder / f"{number}.png", seed=place * per_class + number)
    return root


def make_cfg(**keys: Any) -> Any:
    """The default config with some keys set: `make_cfg(DATASET__ROOT="x")` sets DATASET.ROOT."""
    cfg = config.new_config()
    for key, value in keys.items():
        config.merge_key(cfg, key.replace("__", "."), str(value) if isinstance(value, Path) else value, where="test")
    return cfg
