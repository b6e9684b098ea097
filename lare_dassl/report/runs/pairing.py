"""Pairing: each run of a method with the run of a baseline that it is compared with."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lare_dassl.errors import InputError
from lare_dassl.report.runs.report_table import cell_label
from lare_dassl.results.record import Record
from lare_dassl.results.run_facts import RunFacts

from .summary import method_label, method_order
from .variants import SPLIT, WEIGHTS, variant_labels, variant_settings

MOST_NAMES = 12
"""Methods that the refusal of an unknown baseline names."""


@dataclass(frozen=True)
class ComparedRun:
    """A run with its settings and the name of its variant.

    Attributes:
        number: its place among the records.
        record: its own.
        settings: that set it apart, see variants.variant_settings.
        variant: these as text, see variants.variant_labels.
    """

    number: int
    record: Record
    settings: dict[str, str]
    variant: str

    @property
    def method(self) -> str:
        """The method, as summary.method_label names it."""
        return method_label(self.record.trainer, self.variant)

    @property
    def place(self) -> tuple[Any, ...]:
        """Dataset, shots, imbalance and seed: the two runs of a pair have the same."""
        return self.record.dataset_label, self.record.shots, self.record.imbalance, self.record.seed

    def is_of(self, name: str) -> bool:
        """True if a name is that of the run's trainer or method."""
        return name in (self.method, self.record.trainer)

    def agrees(self, other: ComparedRun) -> bool:
        """True if the settings that both have are equal; SPLIT and WEIGHTS are left to `contradictions`."""
        own = {key: value for key, value in self.settings.items() if key not in (SPLIT, WEIGHTS)}
        return all(other.settings.get(key, value) == value for key, value in own.items())

    @property
    def cell(self) -> str:
        """Its cell as text: method, dataset, shots and imbalance."""
        dataset, shots, imbalance, _ = self.place
        return cell_label(dataset, shots, imbalance, self.method)


@dataclass(frozen=True)
class Pair:
    """A run, and the run of the baseline that it is compared with."""

    run: ComparedRun
    partner: ComparedRun


def pair_runs(
    records: Sequence[Record], baseline: str, planned: Sequence[RunFacts] = ()
) -> tuple[list[Pair], list[str]]:
    """The pairs of the same dataset, shots, imbalance and seed, and a line for each run that has none, and why.

    Seeds of a cell that have none for the same reason share a line.

    The two of a pair are tested on the same split of the same split.json, with the same frozen model. What is known
    of the model decides: its name where both records hold the hash of its weights or neither does, and the hash where
    both do. A record without the hash, as of an image trainer, may call the same model otherwise ("ViT-B/32").

    Args:
        records: of the runs.
        baseline: a trainer, or a method as summary.method_label names it. A trainer stands for its run whose settings
            agree with those of the run that it is compared with.
        planned: see summary.cells; their settings count among those in which runs differ.

    Raises:
        InputError: no run is of the baseline (names the nearest).
    """
    runs = runs_to_compare(records, planned)
    candidates = _baseline_runs(runs, baseline)
    pairs = []
    refused: dict[tuple[str, str], list[int]] = defaultdict(list)
    for run in runs:
        if run.is_of(baseline):
            continue
        try:
            pairs.append(Pair(run, _partner(run, candidates.get(run.place, []), baseline)))
        except InputError as error:
            refused[run.cell, str(error)].append(run.record.seed)
    return pairs, [f"{cell}, {seeds_label(seeds)}: {reason}" for (cell, reason), seeds in refused.items()]


def runs_to_compare(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> list[ComparedRun]:
    """The runs with what sets them apart, see `pair_runs`."""
    known = [*records, *planned]
    runs = zip(records, variant_settings(known), variant_labels(known), strict=False)
    return [ComparedRun(number, *run) for number, run in enumerate(runs)]


def seeds_label(seeds: Sequence[int]) -> str:
    """Seeds as text, such as "seeds 0, 1"."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def _baseline_runs(runs: Sequence[ComparedRun], baseline: str) -> dict[tuple[Any, ...], list[ComparedRun]]:
    """The runs of a baseline by what the other run of a pair must share.

    Raises:
        InputError: there is none.
    """
    chosen = [run for run in runs if run.is_of(baseline)]
    if not chosen:
        raise _unknown_baseline(baseline, runs)
    by_place = defaultdict(list)
    for run in chosen:
        by_place[run.place].append(run)
    return by_place


def _unknown_baseline(name: str, runs: Sequence[ComparedRun]) -> InputError:
    """The refusal of a name that is of no run: with the nearest, and the methods without the names of variants."""
    trainers = sorted({run.record.trainer for run in runs}, key=lambda trainer: method_order(trainer, ""))
    nearest = difflib.get_close_matches(name, {*trainers, *(run.method for run in runs)}, n=1)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    more = len(trainers) - MOST_NAMES
    shown = ", ".join(trainers[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return InputError(f"unknown baseline '{name}': {hint}methods of these runs: {shown}")


def _partner(run: ComparedRun, candidates: Sequence[ComparedRun], baseline: str) -> ComparedRun:
    """The baseline's run to compare a run with.

    Raises:
        InputError: there is none, or more than one, or what there is contradicts the run.
    """
    # A baseline that is named with its settings is one run whatever those of the other are.
    exact = [other for other in candidates if other.method == baseline != other.record.trainer]
    agreeing = exact or [other for other in candidates if other.agrees(run)]
    comparable = [other for other in agreeing if not any(contradictions(run, other))]
    if len(comparable) == 1:
        return comparable[0]
    if agreeing and not comparable:
        raise InputError("; ".join(contradictions(run, agreeing[0])))
    count = f"{len(comparable)} runs" if comparable else "no run"
    raise InputError(f"{count} of {baseline} to compare it with")


def contradictions(run: ComparedRun, other: ComparedRun) -> Iterator[str]:
    """The reasons against comparing two runs, see `pair_runs`."""
    name = other.method
    splits = run.record.tested_split, other.record.tested_split
    if splits[0] != splits[1]:
        yield f"it is tested on {splits[0]}, and {other.record.trainer} on {splits[1]}"
    if run.record.split_sha256 != other.record.split_sha256:
        yield f"its split is not that of {name}"
    own, others = run.record.vlm, other.record.vlm
    if (own.weights_sha256 is None) != (others.weights_sha256 is None):
        return
    if own.model != others.model:
        yield f"its frozen model is {own.model}, and that of {name} is {others.model}"
    elif own.weights_sha256 != others.weights_sha256:
        yield f"the weights of its frozen model are not those of {name}"
