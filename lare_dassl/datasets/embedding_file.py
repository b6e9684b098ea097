"""A dataset that is an embedding file: the rows are there already, and no image is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lare_dassl.dassl_api import DATASET_REGISTRY, DatasetBase, Datum
from lare_dassl.datasets.domains import check_domains
from lare_dassl.datasets.splits import few_shot_rows
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.errors import InputError


@DATASET_REGISTRY.register()
class EmbeddingFile(DatasetBase):
    """The embeddings in the safetensors file that DATASET.ROOT names (format `embedding-file/1`).

    Source and target domains are the file's own. DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS choose among them:
    train and val keep the rows of the chosen sources, test those of the chosen sources and targets. A choice of sources
    takes them out of the file's own targets. DATASET.NUM_SHOTS applies to the train rows.

    Attributes:
        embedding_set: the chosen rows; trainers of ours read it and encode nothing. The lists of Datum have its rows in
            the same order, each with the path of the file, for the host's sake.

    Raises:
        InputError: anything wrong with the file, the domains or DATASET.NUM_SHOTS.
    """

    def __init__(self, cfg: Any) -> None:
        if not cfg.DATASET.ROOT:
            raise InputError("DATASET.ROOT is empty: give the embedding file (.safetensors) with --root")
        self.path = Path(cfg.DATASET.ROOT).expanduser().absolute()
        chosen = choose_domains(
            read_embedding_file(self.path), list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS)
        )
        _check_classes(chosen, self.path)
        self.embedding_set = few_shot_set(chosen, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        self.domain_names = list(chosen.domain_names)
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


def choose_domains(embeddings: EmbeddingSet, source: Sequence[str], target: Sequence[str]) -> EmbeddingSet:
    """Keep the rows of the chosen domains.

    Args:
        embeddings: all rows.
        source: names of source domains; none stands for the set's own.
        target: names of target domains; none stands for the set's own, less the sources.

    Raises:
        InputError: the choice cannot be run (see `domains.check_domains`), or a chosen domain has no rows to serve it.
    """
    if not source and not target:
        return embeddings
    source = list(source or embeddings.source_domains)
    target = list(target or [name for name in embeddings.target_domains if name not in source])
    check_domains(source, target, embeddings.domain_names)
    for name in source:
        _check_rows(embeddings, embeddings.train, name, "train", "--source-domains")
    for name in target:
        _check_rows(embeddings, embeddings.test, name, "test", "--target-domains")
    val = _rows_of(embeddings, embeddings.val, source) if embeddings.val is not None else None
    return replace(
        embeddings,
        train=_rows_of(embeddings, embeddings.train, source),
        val=val if val is not None and len(val) else None,
        test=_rows_of(embeddings, embeddings.test, [*source, *target]),
        source_domains=tuple(source),
        target_domains=tuple(target),
    )


def few_shot_set(embeddings: EmbeddingSet, shots: int, seed: int) -> EmbeddingSet:
    """Keep `shots` train rows of every class, by `splits.few_shot_rows`; -1 keeps all.

    Raises:
        InputError: `shots` is out of range, or larger than a class has.
    """
    rows = few_shot_rows(embeddings.train.label.cpu().numpy(), shots, seed, embeddings.classnames)
    return replace(embeddings, train=embeddings.train.select(torch.from_numpy(rows)))


def _rows_of(embeddings: EmbeddingSet, rows: LabelledEmbeddings, names: Sequence[str]) -> LabelledEmbeddings:
    numbers = torch.tensor([embeddings.domain_names.index(name) for name in names])
    return rows.select(torch.isin(rows.domain, numbers))


def _check_rows(embeddings: EmbeddingSet, rows: LabelledEmbeddings, name: str, split: str, flag: str) -> None:
    if not (rows.domain == embeddings.domain_names.index(name)).any():
        having = [embeddings.domain_names[number] for number in rows.domain.unique().tolist()]
        raise InputError(
            f"domain '{name}' has no {split} rows in the embedding file: choose {flag} among {', '.join(having)}"
        )


def _check_classes(embeddings: EmbeddingSet, path: Path) -> None:
    counts = torch.bincount(embeddings.train.label, minlength=len(embeddings.classnames))
    for name, count in zip(embeddings.classnames, counts.tolist(), strict=True):
        if count == 0:
            raise InputError(f"class '{name}' has no train row in '{path}': add one, or take the class out of the file")
