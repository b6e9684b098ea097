"""Notes on the images behind the figures: methods on different images, images left out, images in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lare_dassl.datasets.base.image_dataset import SPLITS
from lare_dassl.report.runs.report_table import place_label
from lare_dassl.results.record import Record
from lare_dassl.results.run_facts import RunFacts

from .pairing import ComparedRun, runs_to_compare, seeds_label


def data_notes(records: Sequence[Record], planned: Sequence[RunFacts] = ()) -> list[str]:
    """A line for each pair of methods that stand in one table but were not run on the same images; and one for each
    dataset of which images were left out (DATASET.BAD_IMAGES), or are in two splits.

    Args:
        records: of the runs.
        planned: see summary.cells; their settings count among those in which runs differ.
    """
    return [
        *_other_images(runs_to_compare(records, planned)),
        *_lines_of_cells(records, lambda record: record.skipped, _skipped_line),
        *_lines_of_cells(records, lambda record: record.duplicates, _duplicates_line),
    ]


def _other_images(runs: Iterable[ComparedRun]) -> list[str]:
    by_place: dict[Any, list[ComparedRun]] = defaultdict(list)
    for run in runs:
        by_place[run.place].append(run)
    seeds: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for (*cell, seed), members in by_place.items():
        for number, run in enumerate(members):
            other = next((other for other in members[:number] if _differ(run, other)), None)
            if other is not None:
                seeds[*cell, other.method, run.method].append(seed)
    return [_other_images_line(key, of_pair) for key, of_pair in seeds.items()]


def _differ(run: ComparedRun, other: ComparedRun) -> bool:
    """True if two runs should have seen the same images, and did not."""
    return run.agrees(other) and run.record.split_sha256 != other.record.split_sha256


def _other_images_line(key: tuple[Any, ...], seeds: Sequence[int]) -> str:
    *cell, first, second = key
    return (
        f"{place_label(*cell)}, {seeds_label(seeds)}: {first} and {second} "
        "were not run on the same images (their split.json differ): do not compare them"
    )


def _lines_of_cells(
    records: Iterable[Record],
    counts_of: Callable[[Record], dict[str, int] | None],
    line: Callable[[str, Sequence[Record]], str],
) -> list[str]:
    """A line for each cell with a run whose counts are not all 0."""
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if any((counts_of(record) or {}).values()):
            cells[place_label(record.dataset_label, record.shots, record.imbalance)].append(record)
    return [line(cell, members) for cell, members in cells.items()]


def _skipped_line(cell: str, records: Sequence[Record]) -> str:
    parts = []
    for split in SPLITS:
        counts = _counts([record.skipped for record in records], split)
        if any(counts):
            whole = counts[0] + records[0].samples.get(split, 0)
            parts.append(f"{_span(counts)} of {whole} {split}")
    return f"{cell}: images that cannot be read are left out (DATASET.BAD_IMAGES skip): {', '.join(parts)}"


def _duplicates_line(cell: str, records: Sequence[Record]) -> str:
    parts = []
    for pair in records[0].duplicates or ():
        counts, (first, _, second) = _counts([record.duplicates for record in records], pair), pair.partition("/")
        if any(counts):
            whole = records[0].samples.get(second, 0)
            parts.append(f"{_span(counts)} of {whole} {second} are in {first} too")
    return f"{cell}: images are in two splits (DATASET.DUPLICATES): {', '.join(parts)}"


def _counts(of_runs: Iterable[dict[str, int] | None], name: str) -> list[int]:
    return [(counts or {}).get(name, 0) for counts in of_runs]


def _span(counts: Sequence[int]) -> str:
    """The counts of the runs of a cell, which may depend on the seed, as text: "3" or "1 to 3"."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
