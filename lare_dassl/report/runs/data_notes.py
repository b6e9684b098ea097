"""What to know of the images behind the figures: runs side by side on others, images left out, images in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lare_dassl.datasets.base.image_dataset import SPLITS
from lare_dassl.report.runs.layout import axis_label

from .pairing import ComparedRun, runs_to_compare, seeds_label
from .summary import dataset_label


def data_notes(records: Sequence[dict[str, Any]], planned: Sequence[dict[str, Any]] = ()) -> list[str]:
    """A line for each pair of methods that stand in one table but were not run on the same images; and one for each
    dataset of which images were left out (DATASET.BAD_IMAGES), or are in two splits.

    Args:
        records: of the runs.
        planned: see summary.cells; they tell which settings set runs apart.
    """
    return [
        *_other_images(runs_to_compare(records, planned)),
        *_lines_of_cells(records, "skipped", _skipped_line),
        *_lines_of_cells(records, "duplicates", _duplicates_line),
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
    """Whether two runs should have seen the same images, and did not."""
    return run.agrees(other) and run.record["split_sha256"] != other.record["split_sha256"]


def _other_images_line(key: tuple[Any, ...], seeds: Sequence[int]) -> str:
    *cell, first, second = key
    return (
        f"{_cell(*cell)}, {seeds_label(seeds)}: {first} and {second} "
        "were not run on the same images (their split.json differ): do not compare them"
    )


def _lines_of_cells(
    records: Iterable[dict[str, Any]], field: str, line: Callable[[str, Sequence[dict[str, Any]]], str]
) -> list[str]:
    """A line for each cell with a run whose record has counts in a field that are not all 0."""
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if any((record.get(field) or {}).values()):
            cells[_cell(dataset_label(record), record["shots"], record["imbalance"])].append(record)
    return [line(cell, members) for cell, members in cells.items()]


def _skipped_line(cell: str, records: Sequence[dict[str, Any]]) -> str:
    counts = {name: [record["skipped"].get(name, 0) for record in records] for name in SPLITS}
    whole = {name: counts[name][0] + _size(records[0], name) for name in SPLITS}
    told = ", ".join(f"{_span(of_split)} of {whole[name]} {name}" for name, of_split in counts.items() if any(of_split))
    return f"{cell}: images that cannot be read are left out (DATASET.BAD_IMAGES skip): {told}"


def _duplicates_line(cell: str, records: Sequence[dict[str, Any]]) -> str:
    parts = []
    for pair in records[0]["duplicates"]:
        counts, (first, _, second) = [record["duplicates"].get(pair, 0) for record in records], pair.partition("/")
        parts += [f"{_span(counts)} of {_size(records[0], second)} {second} are in {first} too"] if any(counts) else []
    return f"{cell}: images are in two splits (DATASET.DUPLICATES): {', '.join(parts)}"


def _span(counts: Sequence[int]) -> str:
    """What the runs of a cell have, which may depend on the seed: "3" or "1 to 3"."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _size(record: dict[str, Any], name: str) -> int:
    size = record["samples"].get(name)
    return size if isinstance(size, int) else 0


def _cell(dataset: str, shots: int, imbalance: float) -> str:
    return f"{dataset}, shots {axis_label('shots', shots)}, imbalance {axis_label('imbalance', imbalance)}"
