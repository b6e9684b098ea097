"""A dataset that is an embedding file: the rows are there already, and no image is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lare_dassl.config.split_settings import SplitSettings
from lare_dassl.datasets.base.domains import check_domains
from lare_dassl.datasets.base.splits import training_rows
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY, DatasetBase, Datum


@DATASET_REGISTRY.register()
class EmbeddingFile(DatasetBase):
    """The embeddings in the safetensors file that DATASET.ROOT names (format `embedding-file/1`).

    Source and target domains are the file's own. DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS choose among them:
    train and val keep the rows of the chosen sources, test those of the chosen sources and targets. A choice of sources
    takes them out of the file's own targets. DATASET.NUM_SHOTS and DATASET.LONG_TAIL apply to the train rows.

    Attributes:
        brings_embeddings: that there are no images to encode, and no prompts.
        rows: which rows of the file's train, val and test are used, ascending.
        embedding_set: these rows; trainers of ours read it and encode nothing. The lists of Datum have its rows in the
            same order, each with the path of the file, for the host's sake.

    Raises:
        InputError: anything wrong with the file, the domains, DATASET.NUM_SHOTS or DATASET.LONG_TAIL.
    """

    brings_embeddings = True

    def __init__(self, cfg: Any) -> None:
        if not cfg.DATASET.ROOT:
            raise InputError("DATASET.ROOT is empty: give the embedding file (.safetensors) with --root")
        self.path = Path(cfg.DATASET.ROOT).expanduser().absolute()
        stored = read_embedding_file(self.path)
        source, target = _chosen_domains(stored, list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS))
        rows = _rows_of_domains(stored, source, target)
        _check_classes(stored, rows["train"], self.path)
        rows["train"] = _training_rows(stored, rows["train"], cfg)
        self.rows = {part: numbers.tolist() for part, numbers in rows.items()}
        self.embedding_set = select_rows(stored, rows, source, target)
        self.domain_names = list(stored.domain_names)
        self.source_domains, self.target_domains = source, target
        splits = self.embedding_set.splits()
        super().__init__(
            train_x=self._items(splits["train"]),
            val=self._items(splits["val"]) if "val" in splits else [],
            test=self._items(splits["test"]),
        )

    def _items(self, rows: LabelledEmbeddings) -> list[Datum]:
        # Making a Datum looks for its file on disk, so rows that are alike share one.
        pairs = list(zip(rows.label.tolist(), rows.domain.tolist(), strict=True))
        names = self.embedding_set.classnames
        item_of = {
            (label, domain): Datum(impath=str(self.path), label=label, domain=domain, classname=names[label])
            for label, domain in set(pairs)
        }
        return [item_of[pair] for pair in pairs]


def _chosen_domains(
    embeddings: EmbeddingSet, source: Sequence[str], target: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The chosen source and target domains; none stands for the set's own, less the chosen sources.

    Raises:
        InputError: the choice cannot be run (see `domains.check_domains`), or a chosen domain has no rows to serve it.
    """
    if not source and not target:
        return list(embeddings.source_domains), list(embeddings.target_domains)
    source = list(source or embeddings.source_domains)
    target = list(target or [name for name in embeddings.target_domains if name not in source])
    check_domains(source, target, embeddings.domain_names)
    for name in source:
        _check_rows(embeddings, embeddings.train, name, "train", "--source-domains")
    for name in target:
        _check_rows(embeddings, embeddings.test, name, "test", "--target-domains")
    return source, target


def _rows_of_domains(embeddings: EmbeddingSet, source: Sequence[str], target: Sequence[str]) -> dict[str, Tensor]:
    """The numbers of the rows of train, val and test that are of the domains each may have, ascending."""
    domains_of = {"train": source, "val": source, "test": [*source, *target]}
    rows = {part: torch.arange(0) for part in domains_of}
    for part, members in embeddings.splits().items():
        numbers = torch.tensor([embeddings.domain_names.index(name) for name in domains_of[part]])
        rows[part] = torch.isin(members.domain, numbers).nonzero().flatten()
    return rows


def _training_rows(embeddings: EmbeddingSet, rows: Tensor, cfg: Any) -> Tensor:
    """Those of the given train rows that DATASET.NUM_SHOTS and DATASET.LONG_TAIL keep."""
    labels = embeddings.train.label[rows].numpy()
    kept = training_rows(labels, SplitSettings.from_cfg(cfg), cfg.SEED, embeddings.classnames)
    return rows[torch.from_numpy(kept)]


def select_rows(
    embeddings: EmbeddingSet, rows: Mapping[str, Tensor], source: Sequence[str], target: Sequence[str]
) -> EmbeddingSet:
    """Keep some rows of a set, as one of other source and target domains.

    Args:
        embeddings: all rows.
        rows: numbers of the rows of train, val and test to keep, ascending; a set without val rows has no val.
        source: names of the source domains.
        target: names of the target domains.
    """
    kept = {part: _select(members, rows[part]) for part, members in embeddings.splits().items()}
    return replace(
        embeddings,
        train=kept["train"],
        val=kept["val"] if len(rows["val"]) else None,
        test=kept["test"],
        source_domains=tuple(source),
        target_domains=tuple(target),
    )


def _select(members: LabelledEmbeddings, rows: Tensor) -> LabelledEmbeddings:
    # All rows are many; they need no second copy.
    return members if len(rows) == len(members) else members.select(rows)


def _check_rows(embeddings: EmbeddingSet, rows: LabelledEmbeddings, name: str, split: str, flag: str) -> None:
    if not (rows.domain == embeddings.domain_names.index(name)).any():
        having = [embeddings.domain_names[number] for number in rows.domain.unique().tolist()]
        raise InputError(
            f"domain '{name}' has no {split} rows in the embedding file: choose {flag} among {', '.join(having)}"
        )


def _check_classes(embeddings: EmbeddingSet, rows: Tensor, path: Path) -> None:
    counts = torch.bincount(embeddings.train.label[rows], minlength=len(embeddings.classnames))
    for name, count in zip(embeddings.classnames, counts.tolist(), strict=True):
        if count == 0:
            raise InputError(f"class '{name}' has no train row in '{path}': add one, or take the class out of the file")
