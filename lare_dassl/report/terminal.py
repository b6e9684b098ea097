"""Tables of the accuracies of several runs, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Column, Table

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.datasets.base.split_file import FILE_NAME as SPLIT_FILE
from lare_dassl.io.json_files import read_json
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.report.runs.summary import GROUP, cells, run_keys, shots_label, show_value, summarise
from lare_dassl.results.record import BY_DOMAIN, Record
from lare_dassl.results.run_facts import RunFacts

ACCURACIES = {"in_domain_accuracy": ("in-domain", "source"), "out_of_domain_accuracy": ("out-of-domain", "target")}


def accuracy_table(records: Sequence[Record], planned: Sequence[RunFacts] = (), *, title: str = "") -> Table:
    """In-domain and out-of-domain accuracy of each method as mean ± std over the seeds, with the number of seeds.

    Dataset, shots and imbalance ratio have a column each where some row has another than the usual one. Beside the
    ratio that was asked for stands the one that was reached.

    Args:
        records: of the runs, at least one.
        planned: see `summary.cells`; planned runs that are not among the records are counted as missing.
        title: of the table.
    """
    frame = cells(records, planned)
    columns = _point_columns(frame)
    if "imbalance" in columns:
        reached = _reached_ratios(records, planned)
        columns["reached"] = [_ratio(reached.get(key)) for key in frame[GROUP].itertuples(index=False, name=None)]
    columns["method"] = list(frame["method"])
    for name, (place, role) in ACCURACIES.items():
        heading = f"{place}, % ({_domains(records, role)})"
        columns[heading] = list(map(show_value, frame[f"{name}_mean"], frame[f"{name}_std"]))
    columns["seeds"] = list(map(_count, frame["n"], frame["expected"]))
    # Long names are folded: one that is cut off names nothing.
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _point_columns(frame: pd.DataFrame) -> dict[str, list[str]]:
    columns = {}
    if frame["dataset"].nunique() > 1:
        columns["dataset"] = list(frame["dataset"])
    if (frame["shots"] != ALL_SHOTS).any():
        columns["shots"] = list(map(shots_label, frame["shots"]))
    if (frame["imbalance"] != 1).any():
        columns["imbalance"] = list(map(_ratio, frame["imbalance"]))
    return columns


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _count(found: int, expected: int) -> str:
    return str(found) if found == expected else f"{found} of {expected}, {expected - found} missing"


def _domains(records: Sequence[Record], role: str) -> str:
    """The names of the source or target domains; of several datasets with other names only what they are."""
    names = {", ".join(getattr(record, f"{role}_domains")) or "none" for record in records}
    return names.pop() if len(names) == 1 else f"{role} domains"


def _reached_ratios(records: Sequence[Record], planned: Sequence[RunFacts]) -> Mapping[tuple[Any, ...], float | None]:
    """By cell, the ratio of the largest class to the smallest: it does not depend on the seed."""
    keys = run_keys([*records, *planned])[GROUP].itertuples(index=False, name=None)
    reached: dict[tuple[Any, ...], float | None] = {}
    for key, record in zip(keys, records, strict=False):
        path = Path(str(record.settings["OUTPUT_DIR"])) / SPLIT_FILE
        if key not in reached:
            reached[key] = _reached_ratio(path, record.split_sha256)
    return reached


def _reached_ratio(path: Path, digest: str) -> float | None:
    """The ratio that a split.json records; None where the file is missing, damaged, or not the one of the record."""
    try:
        return float(read_json(path)["reached_ratio"]) if file_sha256(path) == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def domain_table(records: Sequence[Record], title: str) -> Table:
    """Accuracy of each method on each source and target domain as mean ± std over the seeds, a row for each domain.

    Args:
        records: of runs on one dataset that differ in method and seed alone.
        title: of the table.
    """
    rows = summarise(records).to_dict("records")
    table = Table("domain", *(row["trainer"] for row in rows), title=title)
    for domain in records[0].source_domains + records[0].target_domains:
        name = f"{BY_DOMAIN}{domain}"
        table.add_row(domain, *(show_value(row[f"{name}_mean"], row[f"{name}_std"]) for row in rows))
    return table
