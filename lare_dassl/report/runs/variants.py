"""Variants: the settings in which runs of one trainer on one dataset differ, and their names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from lare_dassl.config.keys import shown_settings
from lare_dassl.results.run_facts import USUAL_SPLIT, RunFacts

# Entries of a variant beside its settings.
SPLIT, WEIGHTS = "TEST.SPLIT", "weights"


def variant_settings(records: Sequence[RunFacts]) -> list[dict[str, str]]:
    """For each record the settings in which the records of its dataset and trainer differ, as texts by their keys.

    Two entries are added: SPLIT, where a record of the dataset is tested on another split than USUAL_SPLIT, and
    WEIGHTS of the frozen model, where they differ though all else is equal; a planned run has no WEIGHTS.
    """
    groups = [(record.dataset_label, record.trainer) for record in records]
    variants = _differing(groups, [shown_settings(record.config) for record in records])
    unusual = {record.dataset_label for record in records if record.tested_split != USUAL_SPLIT}
    for record, variant in zip(records, variants, strict=True):
        if record.dataset_label in unusual:
            variant[SPLIT] = record.tested_split
    alike = [(group, *sorted(variant.items())) for group, variant in zip(groups, variants, strict=True)]
    weights = _differing(alike, [_weights(record) for record in records])
    return [variant | own for variant, own in zip(variants, weights, strict=True)]


def _weights(record: RunFacts) -> dict[str, str]:
    return {WEIGHTS: record.weights[:8]} if record.weights else {}


def _differing(groups: Sequence[Any], settings: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The settings that have more than one value within their group."""
    values: dict[Any, set[str]] = defaultdict(set)
    for group, own in zip(groups, settings, strict=True):
        for key, value in own.items():
            values[group, key].add(value)
    differing: dict[Any, set[str]] = defaultdict(set)
    for (group, key), found in values.items():
        if len(found) > 1:
            differing[group].add(key)
    return [_only(own, differing[group]) for group, own in zip(groups, settings, strict=True)]


def _only(settings: dict[str, str], keys: set[str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key in keys}


def variant_labels(records: Sequence[RunFacts]) -> list[str]:
    """The `variant_settings` of each record as text, such as "SAMPLES_PER_IMAGE=4, on val"; "" where there are none.

    Of a key the last parts are shown, as few as name no other key of the runs of the same trainer.
    """
    names = {trainer: short_names(keys) for trainer, keys in _keys_by_trainer(records).items()}
    variants = variant_settings(records)
    return [_variant_label(own, names[record.trainer]) for own, record in zip(variants, records, strict=True)]


def _keys_by_trainer(records: Sequence[RunFacts]) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = defaultdict(set)
    for record in records:
        keys[record.trainer] |= record.settings.keys()
    return keys


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its shortest end that is no other key's, such as "INIT" for "CLASSIFIER.INIT"."""
    ends = {key: _ends(key) for key in keys}
    uses = Counter(chain.from_iterable(ends.values()))
    return {key: _shortest(own, uses) for key, own in ends.items()}


def _shortest(ends: Sequence[str], uses: Counter[str]) -> str:
    """The first end that one key alone has, else the last, which is the key."""
    return next((end for end in ends if uses[end] == 1), ends[-1])


def _ends(key: str) -> list[str]:
    """The dotted ends of a key, the shortest first."""
    parts = key.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def _variant_label(settings: dict[str, str], names: dict[str, str]) -> str:
    """The settings of a variant as text; the usual split is not shown."""
    texts = {key: f"{names.get(key, key)}={value}" for key, value in settings.items()}
    if SPLIT in settings:
        texts[SPLIT] = "" if settings[SPLIT] == USUAL_SPLIT else f"on {settings[SPLIT]}"
    return ", ".join(filter(None, texts.values()))
