"""From a dataset to its EmbeddingSet: which domains its rows belong to, the encoding of its images and prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl import vlm
from lare_dassl.datasets.base.class_names import prompt_name
from lare_dassl.datasets.base.splits import ItemSplit
from lare_dassl.embeddings.cache.hashes import cache_folder
from lare_dassl.embeddings.embedding_set import EmbeddingSet, LabelledEmbeddings
from lare_dassl.embeddings.encoder.encoder import Encoder, EncodingReport
from lare_dassl.errors import InputError
from lare_dassl.host.door import DATASET_REGISTRY

from .prompts import check_class_prompts, class_prompts, domain_templates, fill_templates
from .unreadable import readable_split

logger = logging.getLogger(__name__)

# Puts the embeddings of images into the cache before they are asked for; gives how many were not there.
EncodeAhead = Callable[[CfgNode, Sequence[Path]], int]


@dataclass(frozen=True)
class EncodedDataset:
    """A dataset as tensors.

    Attributes:
        embeddings: of its images and texts.
        split: the images that `embeddings` are of, and those that were skipped, since they cannot be read.
        report: what was encoded now.
    """

    embeddings: EmbeddingSet
    split: ItemSplit
    report: EncodingReport


@dataclass(frozen=True)
class Domains:
    """The domains of a dataset's rows.

    Attributes:
        names: of all domains.
        sources: names of the domains trained on.
        targets: names of the domains never trained on.
        test_offset: to add to the domain index of a test item; some datasets count targets from 0 again.
        numbered: whether the items' own numbers count; else all of train and val is one domain, and all of test.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    test_offset: int = 0
    numbered: bool = True

    def indices(self, items: Sequence[Any], is_test: bool) -> Tensor:
        """The domain of each item of a split, int64 (N,), as an index into `names`."""
        offset = self.test_offset if is_test else 0
        return torch.tensor([(item.domain if self.numbered else 0) + offset for item in items], dtype=torch.int64)


def domains_of(dataset: Any, cfg: CfgNode) -> Domains:
    """How a dataset numbers its domains.

    Our datasets name them in `domain_names`, `source_domains` and `target_domains`. Dassl's own datasets for domain
    generalisation number the source domains in train and val and the target domains in test, each from 0. Dassl's WILDS
    datasets number their splits apart and name nothing: theirs are called train and test. All others have one domain.
    """
    if hasattr(dataset, "domain_names"):
        return Domains(tuple(dataset.domain_names), tuple(dataset.source_domains), tuple(dataset.target_domains))
    sources, targets = tuple(cfg.DATASET.SOURCE_DOMAINS), tuple(cfg.DATASET.TARGET_DOMAINS)
    if dataset.domains and sources and targets:
        return Domains(sources + targets, sources, targets, test_offset=len(sources))
    if any(item.domain for item in [*dataset.train_x, *dataset.test]):
        return Domains(("train", "test"), ("train",), ("test",), test_offset=1, numbered=False)
    return Domains((cfg.DATASET.NAME,), (cfg.DATASET.NAME,), ())


def class_text_embeddings(encoder: Encoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """The mean unit embedding of each class's prompts, scaled to unit length: (C, D)."""
    flat = encoder.encode_texts([prompt for of_class in prompts for prompt in of_class])
    means = [rows.mean(dim=0) for rows in flat.split([len(of_class) for of_class in prompts])]
    return F.normalize(torch.stack(means), dim=-1)


def has_validation(dataset: Any, split: ItemSplit, cfg: CfgNode) -> bool:
    """Whether there will be validation rows: known before anything is encoded."""
    return bool(_encoded_splits(split, domains_of(dataset, cfg))["val"])


def check_names_and_texts(cfg: CfgNode) -> None:
    """Refuse what names no frozen model and no texts, by the configuration alone.

    Raises:
        InputError: unknown model or weights, prompts without {} or for a dataset that brings its texts, or a file of
            descriptions that cannot be read.
    """
    if getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "brings_embeddings", False):
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
    cfg: CfgNode, dataset: Any, split: ItemSplit, *, describe_domains: bool, encode_ahead: EncodeAhead | None = None
) -> EncodedDataset:
    """The embeddings of a dataset: its own where it brings them, else encoded through the cache.

    Args:
        cfg: the whole configuration.
        dataset: of Dassl or of ours; one that brings embeddings has them in `embedding_set`.
        split: its images, see `splits.split_items`.
        describe_domains: whether to encode the domain descriptions of DATASET.SOURCE_PROMPTS and TARGET_PROMPTS too.
        encode_ahead: who encodes the images, if not this process.

    Raises:
        InputError: a class has no training image; see also build_encoder, class_prompts, domain_templates,
            Encoder.encode_readable and readable_split.
    """
    if hasattr(dataset, "embedding_set"):
        _check_no_prompts(cfg)
        return EncodedDataset(dataset.embedding_set, split, EncodingReport(images=0, decoded=0))
    if len(dataset.classnames) != dataset.num_classes:
        count = f"{len(dataset.classnames)} of {dataset.num_classes}"
        raise InputError(f"{cfg.DATASET.NAME}: only {count} classes have training images")
    domains = domains_of(dataset, cfg)
    classnames = _classnames(dataset)
    spoken = prompt_names(dataset, classnames)
    prompts = class_prompts(cfg.VLM, classnames, spoken)
    templates = domain_templates(cfg.DATASET) if describe_domains else {}
    paths = _image_paths(_encoded_splits(split, domains))
    ahead = encode_ahead(cfg, paths) if encode_ahead else 0
    encoder = build_encoder(cfg)
    embedding, causes, report = encoder.encode_readable(paths)
    split = readable_split(cfg, split, causes)
    rows = _rows_of(embedding, _encoded_splits(split, domains), domains)
    embeddings = EmbeddingSet(
        train=rows["train"],
        val=rows["val"] if len(rows["val"]) else None,
        test=rows["test"],
        class_text=class_text_embeddings(encoder, prompts),
        classnames=tuple(classnames),
        domain_names=domains.names,
        source_domains=domains.sources,
        target_domains=domains.targets,
        vlm=encoder.identity(),
        domain_text=_domain_text_embeddings(encoder, templates, spoken),
        described_domains=tuple(templates),
    )
    # What cannot be read was asked for ahead too.
    decoded = min(report.decoded + ahead, report.images)
    return EncodedDataset(embeddings, split, replace(report, decoded=decoded))


def _check_no_prompts(cfg: CfgNode) -> None:
    """Refuse prompts for a dataset that brings its text embeddings: the record would say that they were used."""
    for section, key in (("VLM", "PROMPTS_FILE"), ("DATASET", "SOURCE_PROMPTS"), ("DATASET", "TARGET_PROMPTS")):
        if cfg[section][key]:
            raise InputError(
                f"{section}.{key} has no effect on {cfg.DATASET.NAME}, which brings its texts: leave it out"
            )


def _encoded_splits(split: ItemSplit, domains: Domains) -> dict[str, Sequence[Any]]:
    # Where domains are not numbered through, validation images may be of any domain, and none may select by them.
    return {"train": split.train, "val": split.val if domains.numbered else [], "test": split.test}


def _image_paths(splits: dict[str, Sequence[Any]]) -> list[Path]:
    return [Path(item.impath) for members in splits.values() for item in members]


def _rows_of(embedding: Tensor, splits: dict[str, Sequence[Any]], domains: Domains) -> dict[str, LabelledEmbeddings]:
    parts = dict(zip(splits, embedding.split([len(members) for members in splits.values()]), strict=True))
    return {name: _label_rows(parts[name], members, domains, name == "test") for name, members in splits.items()}


def _domain_text_embeddings(encoder: Encoder, templates: dict[str, list[str]], spoken: Sequence[str]) -> Tensor | None:
    """Every class described in every domain: (K, C, D); None where no domain is described."""
    described = [
        class_text_embeddings(encoder, fill_templates(domain, of_domain, spoken))
        for domain, of_domain in templates.items()
    ]
    return torch.stack(described) if described else None


def _classnames(dataset: Any) -> list[str]:
    """The class names of a dataset; some of Dassl's name none, and then their folders' names serve."""
    if all(dataset.classnames):
        return list(dataset.classnames)
    logger.warning("dataset %s names no classes: the names of their folders go into prompts", type(dataset).__name__)
    folders = {item.label: Path(item.impath).parent.name for item in dataset.train_x}
    return [folders[label] for label in sorted(folders)]


def prompt_names(dataset: Any, classnames: Sequence[str]) -> list[str]:
    """The class names of a dataset as its prompts have them."""
    names = getattr(dataset, "prompt_classnames", None)
    return list(names) if names else [prompt_name(name) for name in classnames]


def _label_rows(embedding: Tensor, items: Sequence[Any], domains: Domains, is_test: bool) -> LabelledEmbeddings:
    label = torch.tensor([item.label for item in items], dtype=torch.int64)
    return LabelledEmbeddings(embedding, label, domains.indices(items, is_test))
