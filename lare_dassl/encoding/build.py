"""From a dataset to its EmbeddingSet: the encoding of its images and prompts through the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl import vlm
from lare_dassl.datasets.base.host_dataset import brings_embeddings
from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.embeddings.cache.hashes import cache_folder
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.embeddings.encoder.encoder import Encoder, EncodingReport
from lare_dassl.errors import InputError

from .prompts import check_class_prompts, class_prompts, domain_templates, fill_templates
from .unreadable import readable_images

EncodeAhead = Callable[[CfgNode, Sequence[Path]], int]
"""Puts the embeddings of images into the cache before they are asked for; returns how many were not there."""


@dataclass(frozen=True)
class EncodedDataset:
    """A dataset as tensors.

    Attributes:
        embeddings: of its images and texts.
        dataset: the images that `embeddings` are of; those that cannot be read are skipped.
        report: how many images were encoded now.
    """

    embeddings: EmbeddingSet
    dataset: ImageDataset
    report: EncodingReport


def class_text_embeddings(encoder: Encoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """The mean unit embedding of each class's prompts, scaled to unit length: (C, D)."""
    flat = encoder.encode_texts(list(chain.from_iterable(prompts)))
    means = [rows.mean(dim=0) for rows in flat.split(list(map(len, prompts)))]
    return F.normalize(torch.stack(means), dim=-1)


def check_names_and_texts(cfg: CfgNode) -> None:
    """Refuse a configuration that names no frozen model or no texts, before anything is read.

    Raises:
        InputError: unknown model or weights, prompts without {} or for a dataset that brings its texts, or a file of
            descriptions that cannot be read.
    """
    if brings_embeddings(cfg.DATASET.NAME):
        _check_no_prompts(cfg)
        return
    vlm.check_names(cfg.MODEL.BACKBONE.NAME, cfg.VLM.PRETRAINED, cfg.VLM.ALLOW_RANDOM)
    check_class_prompts(cfg.VLM)


def build_encoder(cfg: CfgNode) -> Encoder:
    """The encoder that a configuration asks for.

    Raises:
        InputError: unknown model, no weights, or a cache folder that cannot be written to.
    """
    return Encoder(
        vlm.resolve(cfg.MODEL.BACKBONE.NAME, cfg.VLM.PRETRAINED, cfg.VLM.ALLOW_RANDOM),
        cfg.VLM.PRECISION,
        vlm.available_device(cfg.USE_CUDA),
        cache_folder(cfg.EMBEDDINGS.CACHE_DIR),
        batch_size=cfg.EMBEDDINGS.BATCH_SIZE,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_embeddings(
    cfg: CfgNode, dataset: ImageDataset, *, describe_domains: bool, encode_ahead: EncodeAhead | None = None
) -> EncodedDataset:
    """The embeddings of a dataset: its own where it brings them, else encoded through the cache.

    Args:
        cfg: the whole configuration.
        dataset: see `open_dataset`.
        describe_domains: True encodes the domain descriptions of DATASET.SOURCE_PROMPTS and TARGET_PROMPTS too.
        encode_ahead: encodes the images elsewhere, such as on a cluster; None encodes them here.

    Raises:
        InputError: see `build_encoder`, `class_prompts`, `domain_templates` and `readable_images`.
    """
    if dataset.embeddings is not None:
        _check_no_prompts(cfg)
        return EncodedDataset(dataset.embeddings, dataset, EncodingReport(images=0, decoded=0))
    prompts = class_prompts(cfg.VLM, dataset.classnames, dataset.prompt_names)
    templates = domain_templates(cfg.DATASET) if describe_domains else {}
    paths = [Path(item.path) for item in chain.from_iterable(dataset.used_splits().values())]
    ahead = encode_ahead(cfg, paths) if encode_ahead else 0
    encoder = build_encoder(cfg)
    embedding, causes, report = encoder.encode_readable(paths)
    dataset = readable_images(cfg, dataset, causes)
    rows = _labelled(embedding, dataset)
    embeddings = EmbeddingSet(
        train=rows["train"],
        val=rows["val"] if dataset.has_validation else None,
        test=rows["test"],
        class_text=class_text_embeddings(encoder, prompts),
        classnames=tuple(dataset.classnames),
        domain_names=tuple(dataset.domain_names),
        source_domains=tuple(dataset.source_domains),
        target_domains=tuple(dataset.target_domains),
        vlm=encoder.identity(),
        domain_text=_domain_text_embeddings(encoder, templates, dataset.prompt_names),
        described_domains=tuple(templates),
    )
    # Images that cannot be read were counted ahead too.
    decoded = min(report.decoded + ahead, report.images)
    return EncodedDataset(embeddings, dataset, replace(report, decoded=decoded))


def _check_no_prompts(cfg: CfgNode) -> None:
    """Refuse prompts for a dataset that brings its text embeddings: the record would say that they were used."""
    for section, key in (("VLM", "PROMPTS_FILE"), ("DATASET", "SOURCE_PROMPTS"), ("DATASET", "TARGET_PROMPTS")):
        if cfg[section][key]:
            raise InputError(
                f"{section}.{key} has no effect on {cfg.DATASET.NAME}, which brings its texts: leave it out"
            )


def _labelled(embedding: Tensor, dataset: ImageDataset) -> dict[str, LabelledEmbeddings]:
    """The rows of each split, from the embeddings of all its images in their order."""
    splits = dataset.used_splits()
    parts = embedding.split([len(items) for items in splits.values()])
    labelled = {}
    for rows, (name, items) in zip(parts, splits.items(), strict=True):
        label = torch.tensor([item.label for item in items], dtype=torch.int64)
        domain = torch.tensor([item.domain for item in items], dtype=torch.int64)
        labelled[name] = LabelledEmbeddings(rows, label, domain)
    return labelled


def _domain_text_embeddings(encoder: Encoder, templates: dict[str, list[str]], spoken: Sequence[str]) -> Tensor | None:
    """Every class described in every domain: (K, C, D); None where no domain is described."""
    described = [
        class_text_embeddings(encoder, fill_templates(domain, of_domain, spoken))
        for domain, of_domain in templates.items()
    ]
    return torch.stack(described) if described else None
