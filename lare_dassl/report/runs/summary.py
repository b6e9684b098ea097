"""Records as a tidy table, one row per run, and as mean ± std of the seeds, one row per cell."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import pandas as pd

from lare_dassl.config.keys import shown_settings
from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.results.record import Record
from lare_dassl.results.run_facts import USUAL_SPLIT, RunFacts
from lare_dassl.trainers.base.description import LAST, in_reports

GROUP = ["dataset", "shots", "imbalance", "trainer", "variant"]
"""Columns that identify a cell; its runs differ in their seeds alone."""

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


def method_label(trainer: str, variant: str) -> str:
    """Name of a method in tables and figures, such as "LARE" or "LARE (SAMPLES_PER_IMAGE=4)"."""
    known = in_reports().get(trainer)
    label = known.label if known else trainer
    return f"{label} ({variant})" if variant else label


def shots_label(shots: int) -> str:
    """Number of shots as text, "all" for all images."""
    return "all" if shots == ALL_SHOTS else str(shots)


def run_keys(records: Sequence[RunFacts], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """One row per record with the columns of GROUP and seed; `config` of a record may hold some of the keys alone.

    Args:
        records: of the runs.
        planned: see `cells`; they have no rows, but their settings count for `variant`.
    """
    variants = variant_labels([*records, *planned])[: len(records)]
    rows = [
        (record.dataset_label, record.shots, record.imbalance, record.trainer, variant, record.seed)
        for record, variant in zip(records, variants, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "seed"])


def tidy(records: Iterable[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """One row per record: GROUP and seed; metrics and accuracy on each domain in percent, NaN where they do not apply.

    `variant` names the settings in which the runs of a dataset and trainer differ, beyond shots, imbalance and seed;
    planned runs, see `cells`, count among them.
    """
    records = list(records)
    return run_keys(records, planned).join(_figures(records))


def _figures(records: Sequence[Record]) -> pd.DataFrame:
    return pd.DataFrame([record.metrics.flat() for record in records]).astype(float)


def summarise(records: Iterable[Record]) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof 1) and number of seeds of each cell, that is by GROUP.

    Returns:
        A frame with columns n, and (metric)_mean, (metric)_std and (metric)_n of each metric and domain, in the order
        the cells first appear; std is NaN for a single seed, and (metric)_n counts the seeds that have the metric.
    """
    return _summarise(tidy(records))


def _summarise(frame: pd.DataFrame) -> pd.DataFrame:
    groups = frame.groupby(GROUP, sort=False)
    columns = {"n": groups["seed"].count()}
    for name in frame.columns.drop([*GROUP, "seed"]):
        values = groups[name]
        columns |= {f"{name}_mean": values.mean(), f"{name}_std": values.std(ddof=1), f"{name}_n": values.count()}
    return pd.DataFrame(columns).reset_index()


def cells(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """`summarise`, with a row for each cell that should have runs, sorted: dataset, imbalance, shots, method.

    With a plan, a cell is expected to have the seeds that are planned or run for it. Without one nothing is known to
    be missing but seeds: each cell that has runs is expected to have all seeds of its dataset, and no other cell is.

    Args:
        records: of the runs.
        planned: the runs that were planned, see collect.Collection.

    Returns:
        The columns of `summarise`, `expected` (number of seeds) and `method` (see `method_label`); n is 0 and all
        means NaN where a cell has no run.
    """
    found = _summarise(tidy(records, planned))
    frame = expected_cells(records, planned).merge(found, on=GROUP, how="left")
    counts = [name for name in frame.columns if name == "n" or name.endswith("_n")]
    frame[counts] = frame[counts].fillna(0).astype(int)
    return frame


def expected_cells(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> pd.DataFrame:
    """The rows of `cells` with the columns of GROUP, `expected` and `method` alone."""
    keys = run_keys([*records, *planned])
    seeds = keys.groupby(GROUP, sort=False)["seed"].nunique().rename("expected").reset_index()
    if not planned:
        seeds["expected"] = seeds["dataset"].map(keys.groupby("dataset")["seed"].nunique())
    return sort_cells(seeds)


def sort_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame with the columns of GROUP in the order of tables, with the column `method`."""
    methods = [method_label(*pair) for pair in zip(frame["trainer"], frame["variant"], strict=True)]
    order = sorted(range(len(frame)), key=lambda place: _order(frame.iloc[place].to_dict()))
    return frame.assign(method=methods).iloc[order].reset_index(drop=True)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    shots = float("inf") if row["shots"] == ALL_SHOTS else row["shots"]
    return row["dataset"], row["imbalance"], shots, method_order(row["trainer"], row["variant"])


def method_order(trainer: str, variant: str) -> tuple[Any, ...]:
    """Sort key of a method: its place, then its name; variants by name, with numbers in them as numbers."""
    known = in_reports().get(trainer)
    place = known.place if known else LAST
    pieces = re.split(r"(\d+(?:\.\d+)?)", variant)
    return place, trainer, [float(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def show_value(mean: float, std: float, digits: int = 1) -> str:
    """A mean with its std as text, such as "65.4 ± 0.6"; a dash where there is no value."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"
