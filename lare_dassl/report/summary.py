"""Records of several seeds as mean ± std."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..record import BY_DOMAIN, METRICS

GROUP = ["dataset", "shots", "imbalance", "trainer"]


def tidy(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per record: dataset, shots, imbalance, trainer, seed; metrics and accuracy on each domain in percent."""
    rows = [
        {key: record[key] for key in [*GROUP, "seed"]}
        | {name: record["metrics"][name] for name in METRICS}
        | {f"{BY_DOMAIN}{name}": value for name, value in record["metrics"]["domain_accuracy"].items()}
        for record in records
    ]
    return pd.DataFrame(rows)


def summarise(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof 1) and number of seeds by dataset, shots, imbalance and trainer.

    Returns:
        A frame with columns n, and (metric)_mean and (metric)_std of each metric and domain, in the order the trainers
        first appear; std is NaN for a single seed.
    """
    frame = tidy(records)
    groups = frame.groupby(GROUP, sort=False)
    columns = {"n": groups["seed"].count()}
    for name in frame.columns.drop([*GROUP, "seed"]):
        values = groups[name]
        columns[f"{name}_mean"] = values.mean()
        columns[f"{name}_std"] = values.std(ddof=1)
    return pd.DataFrame(columns).reset_index()


def show_value(mean: float, std: float) -> str:
    """A mean with its std as text, such as "65.4 ± 0.6"; a dash where there is no value."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.1f}" if pd.isna(std) else f"{mean:.1f} ± {std:.1f}"
