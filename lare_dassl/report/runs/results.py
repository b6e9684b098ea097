"""Results: cells and differences of runs, computed once for the page, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from lare_dassl.report.runs.report_table import ReportTable

from .collect import Collection
from .differences import Differences, paired_differences
from .reference import reference_table
from .summary import cells

BASELINE = "FineTune"
"""The default baseline."""


@dataclass(frozen=True)
class Results:
    """The runs of a report and what follows from them.

    Attributes:
        collection: the runs.
        frame: their cells, see summary.cells.
        differences: to the baseline; None without one.
        reference: reported accuracies beside the measured ones; None where none are asked for.
    """

    collection: Collection
    frame: pd.DataFrame
    differences: Differences | None
    reference: ReportTable | None

    @property
    def baseline(self) -> str:
        """The method that the others are compared with; "" for none."""
        return self.differences.baseline if self.differences else ""


def results_of(collection: Collection, baseline: str = "", reference: str = "") -> Results:
    """The results of some runs.

    Args:
        collection: the runs.
        baseline: see pairing.pair_runs; "" for no differences.
        reference: key of reference.REFERENCES; "" for none.

    Raises:
        InputError: an unknown baseline or reference.
    """
    records, planned = collection.records, collection.planned
    frame = cells(records, planned)
    return Results(
        collection,
        frame,
        paired_differences(records, baseline, planned=planned) if baseline else None,
        reference_table(frame, reference, records) if reference else None,
    )
