"""Tests of a classifier on the validation or test rows of an EmbeddingSet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.embeddings.loaders import RowLoader
from lare_dassl.errors import InputError
from lare_dassl.methods.shared.calibration import fit_temperature
from lare_dassl.results.metrics import DomainClassification

Classify = Callable[[Tensor], Tensor]
"""Embeddings (B, D) → logits (B, C)."""


def evaluator_of(cfg: CfgNode, data: EmbeddingSet | ImageDataset) -> DomainClassification:
    """The evaluator for the classes and domains of some data."""
    return DomainClassification(
        cfg,
        lab2cname=dict(enumerate(data.classnames)),
        domain_names=data.domain_names,
        source_domains=data.source_domains,
        target_domains=data.target_domains,
    )


class SplitTester:
    """Tests a classifier on one split at a time and keeps the figures of the last test.

    Args:
        cfg: the whole configuration.
        embeddings: with the rows to test on.

    Attributes:
        loaders: of the rows of "test", and of "val" where there are validation rows.
        results: figures of the last test, in percent.
    """

    def __init__(self, cfg: CfgNode, embeddings: EmbeddingSet) -> None:
        self._cfg, self._embeddings = cfg, embeddings
        splits = {"val": embeddings.val, "test": embeddings.test}
        self.loaders = {name: RowLoader(rows) for name, rows in splits.items() if rows is not None}
        self.results: dict[str, float] = {}

    @cached_property
    def evaluator(self) -> DomainClassification:
        """Counts by domain and measures calibration, which Dassl's does not."""
        return evaluator_of(self._cfg, self._embeddings)

    @torch.no_grad()
    def test(self, classify: Classify, split: str) -> dict[str, float]:
        """Figures on "val" or "test", the accuracy first; those of "test" go to the log too.

        Raises:
            InputError: "val" is asked for, and there is no validation split.
        """
        if split not in self.loaders:
            raise InputError(f"TEST.SPLIT {split}: this dataset has no validation split")
        self.evaluator.announce = split != "val"
        self.evaluator.reset()
        for batch in self.loaders[split]:
            self.evaluator.process(classify(batch.embedding), batch.label, batch.domain)
        self.results = dict(self.evaluator.evaluate())
        return self.results

    @torch.no_grad()
    def temperature(self, classify: Classify) -> tuple[float, int]:
        """The temperature fitted on validation rows, and their number; 1.0 and 0 where there are none."""
        if "val" not in self.loaders:
            return 1.0, 0
        rows = self.loaders["val"].rows
        logits = torch.cat([classify(batch.embedding) for batch in self.loaders["val"]])
        return fit_temperature(logits, rows.label), len(rows)
