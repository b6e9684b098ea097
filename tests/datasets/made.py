"""Datasets for tests, made without files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem


def made_dataset(
    train: Sequence[tuple[int, int]], test: Sequence[tuple[int, int]] = ((0, 0),), **fields: Any
) -> ImageDataset:
    """A dataset of cats, dogs and owls from (label, domain) of its images: photos are source, paintings target."""
    parts = {"train": train, "val": fields.pop("val", ()), "test": test}
    items = {
        part: [ImageItem(f"/data/{part}/{place}.png", *pair) for place, pair in enumerate(pairs)]
        for part, pairs in parts.items()
    }
    given: dict[str, Any] = {
        "classnames": ["cat", "dog", "owl"][: 1 + max(label for label, _ in train)],
        "domain_names": ["photo", "painting"],
        "source_domains": ["photo"],
        "target_domains": ["painting"],
    }
    return ImageDataset("Made", **items, **(given | {"root": "/data"} | fields))
