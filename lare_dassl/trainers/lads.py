"""LADS: a linear probe on real embeddings and on others moved to domains described in words (arXiv 2210.09520)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from lare_dassl.datasets.base.host_dataset import brings_embeddings
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.encoding.prompts import domain_templates
from lare_dassl.errors import InputError, unknown_name
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.lads import AugmentationLoss, AugmentationNetwork, LADSSettings, fit_augmentation
from lare_dassl.methods.shared.augmentation import MovedEmbeddings
from lare_dassl.trainers.base.optimisation import worth_a_line
from lare_dassl.trainers.base.run_identity import sha256_of
from lare_dassl.trainers.base.two_stage import TwoStageTrainer

logger = logging.getLogger(__name__)


@TRAINER_REGISTRY.register()
class LADS(TwoStageTrainer):
    """Stage 1 fits a network for each described target domain; stage 2 trains on real and moved embeddings.

    Attributes:
        network: the augmentation networks, in the order of `targets`.
    """

    place = 30
    group = "paper"
    colour = "blue"
    section = "TRAINER.LADS"
    settings_class = LADSSettings
    settings: LADSSettings
    augmentation = "embeddings moved to described domains"
    needs = ("texts", "domain texts")
    stage_folder = "augmentation"
    joint = True
    paper = "Dunlap et al., ICLR 2023, arXiv 2210.09520"

    @classmethod
    def check_settings(cls, cfg: CfgNode) -> None:
        """Refuse settings out of range, and descriptions of domains that do not suffice."""
        super().check_settings(cfg)
        if brings_embeddings(cfg.DATASET.NAME):
            return
        described = domain_templates(cfg.DATASET)
        if not described:
            raise InputError(
                "DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS are empty: LADS needs domain descriptions, such as "
                "DATASET.TARGET_PROMPTS.painting 'a painting of a {}.'"
            )
        check_descriptions(cfg.DATASET.SOURCE_DOMAINS, cls.settings_of(cfg).targets, described)
        if not described.keys() - {*cfg.DATASET.SOURCE_DOMAINS}:
            raise _no_target(described)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The described domains that embeddings are moved to.

        Raises:
            InputError: see `described_targets`; or no domain is described.
        """
        if self.embeddings.domain_text is None:
            raise InputError(
                f"embedding file {self.cfg.DATASET.ROOT} has no text/domain: LADS needs domain descriptions: write it "
                "with tools/extract.py from a dataset config with DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS"
            )
        targets = described_targets(self.embeddings, self.settings.targets)
        logger.info("LADS moves embeddings to: %s", ", ".join(targets))
        others = [name for name in self.embeddings.target_domains if name not in targets]
        if others:
            logger.info("target domains without a description: %s", ", ".join(others))
        return targets

    def new_network(self) -> nn.ModuleList:
        """A network for each domain, not yet trained."""
        width, hidden_dim = self.embeddings.vlm.embedding_dim, self.settings.hidden_dim
        return nn.ModuleList(AugmentationNetwork(width, hidden_dim) for _ in self.targets)

    def fit_network(self) -> nn.ModuleList:
        """Stage 1: fit a network for each domain."""
        return nn.ModuleList(self._fit_augmentation(name) for name in self.targets).eval()

    def _fit_augmentation(self, domain: str) -> AugmentationNetwork:
        rows = self.train_rows
        source_text = torch.empty_like(rows.embedding)
        for name in self.embeddings.source_domains:
            chosen = rows.domain == self.embeddings.domain_names.index(name)
            source_text[chosen] = self._texts(name)[rows.label[chosen]]
        return fit_augmentation(
            rows.embedding,
            rows.label,
            self.embeddings.class_text,
            source_text,
            self._texts(domain)[rows.label],
            logit_scale=self.settings.logit_scale or self.embeddings.vlm.logit_scale,
            settings=self.settings,
            seed=self.seed,
            on_epoch=partial(self._report_stage_one, domain),
        )

    def _texts(self, domain: str) -> Tensor:
        """The classes described in a domain, (C, D)."""
        assert self.embeddings.domain_text is not None
        return self.embeddings.domain_text[self.embeddings.described_domains.index(domain)]

    def method_identity(self) -> dict[str, str]:
        """The domains to move to, and the hash of their descriptions and those of the source domains."""
        described = [self._texts(name) for name in (*self.targets, *self.embeddings.source_domains)]
        return {"domains told of": ", ".join(self.targets), "domain descriptions (sha256)": sha256_of(*described)}

    def make_augmentation(self) -> MovedEmbeddings:
        """The training embeddings, moved to each domain."""
        assert isinstance(self.network, nn.ModuleList)
        return MovedEmbeddings(torch.stack([network(self.train_rows.embedding) for network in self.network]))

    def _report_stage_one(self, domain: str, epoch: int, loss: AugmentationLoss) -> None:
        epochs = self.stage_one_epochs
        if worth_a_line(epoch, epochs):
            line = "augmentation to %s, epoch %d/%d: loss %.4f (directional %.4f, consistency %.4f)"
            logger.info(line, domain, epoch, epochs, loss.total, loss.directional, loss.consistency)


def described_targets(embeddings: EmbeddingSet, named: Sequence[str]) -> tuple[str, ...]:
    """The described domains to move embeddings to.

    Args:
        embeddings: with domain descriptions.
        named: the domains asked for; without any, all described ones that are targets of the run, or only imagined,
            that is, no domain of the dataset.

    Raises:
        InputError: see `check_descriptions`; or nothing but domains of the dataset that are no targets is described.
    """
    described, sources = embeddings.described_domains, embeddings.source_domains
    check_descriptions(sources, named, described)
    others = {*sources, *embeddings.domain_names} - {*embeddings.target_domains}
    targets = tuple(named) or tuple(name for name in described if name not in others)
    if not targets:
        raise _no_target(described)
    return targets


def _no_target(described: Collection[str]) -> InputError:
    return InputError(
        f"no target domain is described (described: {', '.join(described)}): add one to DATASET.TARGET_PROMPTS, or to "
        "text/domain of the embedding file"
    )


def check_descriptions(sources: Sequence[str], named: Sequence[str], described: Collection[str]) -> None:
    """Refuse to train where a description is missing, or to move embeddings to a source domain.

    Args:
        sources: the domains trained on.
        named: the domains of TRAINER.LADS.TARGETS.
        described: the domains that have a description.

    Raises:
        InputError: names the domain.
    """
    for name in sources:
        if name not in described:
            raise InputError(
                f"source domain '{name}' is not described (described: {', '.join(described)}): LADS needs "
                f"DATASET.SOURCE_PROMPTS.{name}, or it in text/domain of the embedding file"
            )
    for place, name in enumerate(named):
        if name not in described:
            raise unknown_name("described domain (TRAINER.LADS.TARGETS)", name, described)
        if name in sources:
            raise InputError(f"TRAINER.LADS.TARGETS names '{name}', which is a source domain of the run: take it out")
        if name in named[:place]:
            raise InputError(f"TRAINER.LADS.TARGETS names '{name}' twice: name it once")
