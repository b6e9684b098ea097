"""The runs whose predictions are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lare_dassl.errors import InputError
from lare_dassl.results.predictions import Predictions
from lare_dassl.results.record import Record
from lare_dassl.trainers.lare import LARE

from .collect import Collection, Run, read_predictions
from .pairing import Pair
from .results import BASELINE, Results
from .summary import method_label, method_order, shots_label, shots_order

METHOD = LARE.__name__
"""The method whose gain over the baseline is drawn by class."""
ROWS = {"val": "validation"}


@dataclass(frozen=True)
class ComparedRuns:
    """Runs of two methods on the same dataset, shots, imbalance and seeds, with what they predicted.

    Attributes:
        setting: dataset, shots and imbalance as text.
        images: what both were tested on, such as "test images".
        names: of the two methods.
        first: predictions of each seed.
        second: predictions of the same seeds.
        targets: names of the target domains.
    """

    setting: str
    images: str
    names: tuple[str, str]
    first: list[Predictions]
    second: list[Predictions]
    targets: tuple[str, ...]


def compared_runs(results: Results, dataset: str) -> ComparedRuns:
    """The pairs of METHOD and the baseline on one dataset, of the least imbalance and then the most shots.

    They are pairs of the table of differences; of several variants the first is chosen.

    Raises:
        InputError: there is no pair, or a run has no predictions.
    """
    if results.differences is None:
        raise InputError(f"it needs runs of {BASELINE} to compare {METHOD} with")
    pairs = [
        pair
        for pair in results.differences.pairs
        if pair.run.record.trainer == METHOD and pair.run.record.dataset_label == dataset
    ]
    if not pairs:
        raise InputError(f"no run of {METHOD} has one of {results.baseline} to be compared with")
    return _compare(results.collection, dataset, pairs)


def _compare(collection: Collection, dataset: str, pairs: list[Pair]) -> ComparedRuns:
    best = min(map(_pair_rank, pairs))
    chosen = sorted((pair for pair in pairs if _pair_rank(pair) == best), key=lambda pair: pair.run.record.seed)
    run, partner = chosen[0].run, chosen[0].partner
    return ComparedRuns(
        setting=setting_label(dataset, run.record),
        images=images_label(run.record),
        names=(run.method, partner.method),
        first=[read_predictions(collection.runs[pair.run.number]) for pair in chosen],
        second=[read_predictions(collection.runs[pair.partner.number]) for pair in chosen],
        targets=run.record.target_domains,
    )


def _pair_rank(pair: Pair) -> tuple[Any, ...]:
    run, partner = pair.run, pair.partner
    orders = [method_order(side.record.trainer, side.variant) for side in (run, partner)]
    return *_place_rank(run.record), orders


def _place_rank(record: Record) -> tuple[float, float]:
    """Least first: little imbalance, and then many shots."""
    return record.imbalance, -shots_order(record.shots)


def first_run(collection: Collection, dataset: str, name: str) -> tuple[Run, str]:
    """The run of the least imbalance, then the most shots, the first variant and the lowest seed, and its method.

    Args:
        collection: the runs.
        dataset: as summary.dataset_label names it.
        name: of a method, as summary.method_label names it, or of a trainer.

    Raises:
        InputError: there is none.
    """
    found = []
    for key, run in zip(collection.keys.to_dict("records"), collection.runs, strict=True):
        method = method_label(key["trainer"], key["variant"])
        if key["dataset"] == dataset and name in (key["trainer"], method):
            rank = (*_place_rank(run.record), method_order(key["trainer"], key["variant"]), key["seed"])
            found.append((rank, run, method))
    if not found:
        raise InputError(f"there is no run of {name}")
    _, run, method = min(found, key=lambda entry: entry[0])
    return run, method


def images_label(record: Record) -> str:
    """The images that a run was tested on, such as "test images"."""
    return f"{ROWS.get(record.split, record.split)} images"


def setting_label(dataset: str, record: Record) -> str:
    """Dataset, shots and imbalance of a run, such as "PACS (4 shots, imbalance 10)"."""
    tail = "" if record.imbalance == 1 else f", imbalance {record.imbalance:g}"
    return f"{dataset} ({shots_label(record.shots)} shots{tail})"
