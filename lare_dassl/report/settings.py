"""Settings and versions of runs: what all of them share, and what sets them apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lare_dassl.config.merging import leaf_keys

from .runs.layout import ReportTable

# What the table of runs says of each.
LEFT_OUT = {"OUTPUT_DIR", "RESUME", "SEED", "TRAINER.NAME"}
MOST_VALUES = 8
# Records of earlier versions lack the last one.
SECTIONS = ("host", "vlm", "versions", "machine")


def settings_tables(records: Sequence[dict[str, Any]]) -> tuple[ReportTable, ReportTable]:
    """Settings, versions and frozen model of runs: those that differ, value by value, and those that agree.

    A setting that only some methods have agrees where it is the same in all runs that have it.
    """
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for key, value in _flat(record).items():
            values[key][value].append(record["trainer"])
    differing = {key: found for key, found in values.items() if len(found) > 1}
    agreeing = {key: found for key, found in values.items() if len(found) == 1}
    return _differing_table(differing), _agreeing_table(agreeing, len(records))


def _flat(record: dict[str, Any]) -> dict[str, str]:
    outside = {section: record[section] for section in SECTIONS if section in record}
    leaves = [*leaf_keys(outside), *leaf_keys(record["config"])]
    return {key: _text(value) for key, value in leaves if key not in LEFT_OUT}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _differing_table(settings: dict[str, dict[str, list[str]]]) -> ReportTable:
    rows = []
    for key, found in settings.items():
        if len(found) > MOST_VALUES:
            rows.append((key, f"{len(found)} different values", str(sum(map(len, found.values()))), ""))
        else:
            rows += [(key, value, str(len(methods)), _names(methods)) for value, methods in found.items()]
    return ReportTable("Settings that differ", ("setting", "value", "runs", "methods"), tuple(rows))


def _agreeing_table(settings: dict[str, dict[str, list[str]]], count: int) -> ReportTable:
    rows = [
        (key, value, "all" if len(methods) == count else _names(methods))
        for key, found in settings.items()
        for value, methods in found.items()
    ]
    return ReportTable("Settings and versions that agree", ("setting", "value", "runs"), tuple(rows))


def _names(methods: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(methods))
