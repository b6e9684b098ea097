"""Tables of the settings and versions of runs: those that differ and those that agree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lare_dassl.config.keys import OWN_KEYS, leaf_keys
from lare_dassl.results.record import Record

from .runs.report_table import ReportTable

MOST_VALUES = 8
SECTIONS = {"host", "vlm", "versions", "machine"}


def settings_tables(records: Sequence[Record]) -> tuple[ReportTable, ReportTable]:
    """Settings, versions and frozen model of runs: those that differ, value by value, and those that agree.

    A setting that only some methods have agrees where it is the same in all runs that have it.
    """
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for key, value in _flat(record).items():
            values[key][value].append(record.trainer)
    differing = {key: found for key, found in values.items() if len(found) > 1}
    agreeing = {key: found for key, found in values.items() if len(found) == 1}
    return _differing_table(differing), _agreeing_table(agreeing, len(records))


def _flat(record: Record) -> dict[str, str]:
    # A record of an earlier version lacks some of it.
    outside = record.model_dump(include=SECTIONS, exclude_unset=True)
    settings = dict(leaf_keys(outside)) | record.settings
    return {key: _text(value) for key, value in settings.items() if key not in OWN_KEYS}


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
    rows = []
    for key, found in settings.items():
        for value, methods in found.items():
            rows.append((key, value, "all" if len(methods) == count else _names(methods)))
    return ReportTable("Settings and versions that agree", ("setting", "value", "runs"), tuple(rows))


def _names(methods: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(methods))
