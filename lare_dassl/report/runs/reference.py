"""Accuracies that the literature reports, to be set beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lare_dassl.config.split_settings import ALL_SHOTS
from lare_dassl.errors import unknown_name
from lare_dassl.report.runs.report_table import MISSING, ReportTable, show_cell, show_count
from lare_dassl.results.record import ACCURACIES, METRICS, Record

from .summary import method_order, show_value

COLUMNS = ("method", "source", *(f"{METRICS[name]}, %" for name in ACCURACIES), "seeds")


@dataclass(frozen=True)
class Reported:
    """One row of a published table, accuracies in percent.

    Attributes:
        method: as the paper calls it.
        trainer: ours of the same method.
        in_domain, out_of_domain: mean and std; NaN where the paper gives no std.
        runs: that the mean is of; 0 where the paper does not say.
    """

    method: str
    trainer: str
    in_domain: tuple[float, float]
    out_of_domain: tuple[float, float]
    runs: int = 5


@dataclass(frozen=True)
class Reference:
    """A published table.

    Attributes:
        paper: where it stands.
        dataset: our name of the dataset that it is on.
        protocol: how it was measured, in one line.
        rows: in the order of the paper.
    """

    paper: str
    dataset: str
    protocol: str
    rows: tuple[Reported, ...]


NONE = float("nan")
REFERENCES = {
    "cub": Reference(
        paper="LARE (Sakurai et al., arXiv 2409.12597)",
        dataset="CUBPainting",
        protocol="trained on CUB photos, tested on CUB and CUB-Painting; fine-tune is linear probing; LARE is on CoCa",
        rows=(
            Reported("CLIP zero-shot", "ZeroShot", (63.27, NONE), (54.71, NONE), 0),
            Reported("CoCa zero-shot", "ZeroShot", (73.63, NONE), (65.05, NONE), 0),
            Reported("CLIP fine-tune", "FineTune", (86.39, 0.03), (64.40, 0.16)),
            Reported("CoCa fine-tune", "FineTune", (86.98, 0.16), (71.56, 0.12)),
            Reported("LADS", "LADS", (86.31, 0.15), (65.90, 0.15)),
            Reported("LARE", "LARE", (87.01, 0.04), (72.98, 0.16)),
        ),
    )
}


def reference_table(cells: pd.DataFrame, name: str, records: Sequence[Record] = ()) -> ReportTable:
    """Reported accuracies beside those measured on the same dataset, matched by method; each row says which it is.

    Args:
        cells: see summary.cells; those on all images without a long tail are compared.
        name: key of REFERENCES, such as "cub".
        records: of the runs, for the names of their frozen models.

    Raises:
        InputError: an unknown name.
    """
    if name not in REFERENCES:
        raise unknown_name("reference", name, REFERENCES)
    reference = REFERENCES[name]
    usual = (cells["dataset"] == reference.dataset) & (cells["shots"] == ALL_SHOTS) & (cells["imbalance"] == 1)
    measured = cells[usual].to_dict("records")
    trainers = {row.trainer for row in reference.rows} | {str(row["trainer"]) for row in measured}
    rows = []
    for trainer in sorted(trainers, key=lambda trainer: method_order(trainer, "")):
        rows += [_reported_row(row) for row in reference.rows if row.trainer == trainer]
        own = [_measured_row(row) for row in measured if row["trainer"] == trainer]
        rows += own or [(trainer, "measured", MISSING, MISSING, "0")]
    notes = (
        f"reported: by the paper {reference.paper}, not measured here; {reference.protocol}.",
        f"measured: by the runs of this report{_frozen_models(records, reference.dataset)}.",
    )
    return ReportTable(f"{reference.dataset}: reported and measured", COLUMNS, tuple(rows), notes)


def _reported_row(row: Reported) -> tuple[str, ...]:
    values = [_two_digits(*pair) for pair in (row.in_domain, row.out_of_domain)]
    return row.method, "reported", *values, str(row.runs) if row.runs else "–"


def _measured_row(row: dict[str, Any]) -> tuple[str, ...]:
    values = [show_cell(row, metric, show=_two_digits) for metric in ACCURACIES]
    return row["method"], "measured", *values, show_count(row["n"], row["expected"])


def _two_digits(mean: float, std: float) -> str:
    return show_value(mean, std, digits=2)


def _frozen_models(records: Sequence[Record], dataset: str) -> str:
    models = {record.vlm.model for record in records if record.dataset_label == dataset}
    return f" on the frozen model {', '.join(sorted(filter(None, models)))}" if any(models) else ""
