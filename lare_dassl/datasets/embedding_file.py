"""A dataset read from an embedding file: nothing is encoded, and no image is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lare_dassl.datasets.base.domains import check_domains
from lare_dassl.datasets.base.host_dataset import HostDataset
from lare_dassl.datasets.base.image_dataset import ImageDataset, ImageItem
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class EmbeddingFile(HostDataset):
    """The embeddings in the safetensors file that DATASET.ROOT names (format `embedding-file/1`).

    Source and target domains are the file's own. DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS choose among them:
    train and val keep the rows of the chosen sources, test those of the chosen sources and targets. A choice of sources
    takes them out of the file's own targets. DATASET.NUM_SHOTS and DATASET.LONG_TAIL apply to the train rows.

    Each row is listed as an image whose path is that of the file; split.json names it by its number in the file.

    Raises:
        InputError: anything wrong with the file, the domains, DATASET.NUM_SHOTS or DATASET.LONG_TAIL.
    """

    brings_embeddings = True
    ignores = (
        *("DATASET.VAL_FRACTION", "DATASET.TEST_FRACTION", "DATASET.SPLIT_FILE", "DATASET.FOLDER"),
        *("DATASET.EXPECTED_IMAGES", "DATASET.ALLOW_PARTIAL"),
    )

    def read(self, cfg: Any) -> ImageDataset:
        """The rows of the chosen domains."""
        if not cfg.DATASET.ROOT:
            raise InputError("DATASET.ROOT is empty: give the embedding file (.safetensors) with --root")
        path = Path(cfg.DATASET.ROOT).expanduser().absolute()
        stored = read_embedding_file(path)
        source, target = _chosen_domains(stored, list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS))
        rows = _rows_of_domains(stored, source, target)
        embeddings = _select_rows(stored, rows, source, target)
        items = {part: _items(str(path), members) for part, members in embeddings.splits().items()}
        return ImageDataset(
            name=cfg.DATASET.NAME,
            train=items["train"],
            val=items.get("val", []),
            test=items["test"],
            classnames=stored.classnames,
            domain_names=stored.domain_names,
            source_domains=source,
            target_domains=target,
            root=path,
            rows={part: numbers.tolist() for part, numbers in rows.items()},
            embeddings=embeddings,
        )


def _items(path: str, rows: LabelledEmbeddings) -> list[ImageItem]:
    pairs = list(zip(rows.label.tolist(), rows.domain.tolist(), strict=True))
    item_of = {pair: ImageItem(path, *pair) for pair in set(pairs)}
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


def _select_rows(
    embeddings: EmbeddingSet, rows: Mapping[str, Tensor], source: Sequence[str], target: Sequence[str]
) -> EmbeddingSet:
    """Some rows of each split of a set, by ascending numbers, as a set of other source and target domains."""
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
    # No copy of a large file where all its rows are kept.
    return members if len(rows) == len(members) else members.select(rows)


def _check_rows(embeddings: EmbeddingSet, rows: LabelledEmbeddings, name: str, split: str, flag: str) -> None:
    if not (rows.domain == embeddings.domain_names.index(name)).any():
        having = [embeddings.domain_names[number] for number in rows.domain.unique().tolist()]
        raise InputError(
            f"domain '{name}' has no {split} rows in the embedding file: choose {flag} among {', '.join(having)}"
        )
