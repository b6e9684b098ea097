"""Evaluation: accuracy overall, by domain, in-domain and out-of-domain, macro-F1, calibration. N: rows, C: classes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.evaluation import Classification
from lare_dassl.host.door import EVALUATOR_REGISTRY

from .predictions import Predictions

ECE_BINS = 15


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = ECE_BINS) -> float:
    """Expected calibration error in percent, over equally wide bins of confidence (Guo et al., 2017, equation 3).

    Args:
        confidence: highest class probability of each row, (N,), in [0, 1].
        correct: True where that class is the true one, bool (N,).
        bins: number of bins.

    >>> expected_calibration_error(torch.tensor([0.75, 0.75, 0.75, 0.75]), torch.tensor([True, True, False, False]))
    25.0
    """
    index = confidence_bins(confidence, bins)
    sums = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap = sums.index_add(0, index, correct.double() - confidence.double())
    return 100.0 * gap.abs().sum().item() / len(confidence)


def confidence_bins(confidence: Tensor, bins: int) -> Tensor:
    """The bin of each row, int64 (N,), among equally wide ones; the upper edge belongs to a bin.

    >>> confidence_bins(torch.tensor([0.1, 0.5, 0.6]), bins=2).tolist()
    [0, 0, 1]
    """
    return (confidence * bins).ceil().long().clamp(1, bins) - 1


@EVALUATOR_REGISTRY.register()
class DomainClassification(Classification):
    """Dassl's classification figures, with accuracy by domain and calibration.

    In-domain accuracy is the mean over the source domains of the accuracy on their test rows, out-of-domain accuracy
    the mean over the target domains; every domain counts the same, whatever its size.

    Args:
        cfg: the whole configuration.
        lab2cname: class name of each label.
        domain_names: name of each domain index.
        source_domains: names of the domains trained on.
        target_domains: names of the domains never trained on.
        kwargs: taken and left unread, as Dassl's evaluators do.
    """

    def __init__(
        self,
        cfg: CfgNode,
        lab2cname: dict[int, str] | None = None,
        domain_names: Sequence[str] = (),
        source_domains: Sequence[str] = (),
        target_domains: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.domain_names = domain_names
        self.source_domains = source_domains
        self.target_domains = target_domains
        super().__init__(cfg, lab2cname, **kwargs)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._confidence: list[Tensor] = []
        self._domain: list[Tensor] = []

    def process(self, mo: Tensor, gt: Tensor, domain: Tensor | None = None) -> None:
        """Take in one batch.

        Args:
            mo: logits (N, C).
            gt: true labels (N,).
            domain: domain indices (N,); trainers that do not give them get no figures by domain.
        """
        super().process(mo, gt)
        self._confidence.append(mo.float().softmax(dim=1).amax(dim=1).cpu())
        if domain is not None:
            self._domain.append(domain.cpu())

    def evaluate(self) -> OrderedDict[str, float]:
        """Figures in percent, accuracy first; those by domain are named domain_accuracy/<name>."""
        results = super().evaluate()
        correct = torch.cat(self._predicted) == torch.cat(self._true)
        results["ece"] = expected_calibration_error(torch.cat(self._confidence), correct)
        if self._domain:
            results.update(self._by_domain(correct, torch.cat(self._domain)))
        return results

    def predictions(self) -> Predictions:
        """The predictions on the batches that gave their domains.

        Raises:
            InputError: there were none.
        """
        if not self._domain:
            raise InputError("there are no predictions by domain: no batch has given its domains")
        return Predictions(
            label=torch.cat(self._true),
            domain=torch.cat(self._domain),
            predicted=torch.cat(self._predicted),
            confidence=torch.cat(self._confidence),
            classnames=tuple(self._lab2cname[label] for label in range(len(self._lab2cname))),
            domains=tuple(self.domain_names),
        )

    def _by_domain(self, correct: Tensor, domain: Tensor) -> dict[str, float]:
        accuracy = {
            self.domain_names[index]: 100.0 * correct[domain == index].double().mean().item()
            for index in domain.unique().tolist()
        }
        roles = {"in_domain_accuracy": self.source_domains, "out_of_domain_accuracy": self.target_domains}
        figures = {}
        for role, names in roles.items():
            present = [accuracy[name] for name in names if name in accuracy]
            if present:
                figures[role] = sum(present) / len(present)
        return figures | {f"domain_accuracy/{name}": value for name, value in accuracy.items()}
