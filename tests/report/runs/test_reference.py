from __future__ import annotations

import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.runs.reference import reference_table
from lare_dassl.report.runs.summary import cells
from tests.report.making import record


def cub(trainer, seed, accuracy, **changes):
    return record(trainer, seed, accuracy, dataset="CUBPainting", vlm={"model": "coca_ViT-L-14"}, **changes)


def test_reported_and_measured_rows_stand_together_and_say_which_they_are():
    records = [cub("LARE", seed, value) for seed, value in enumerate((86.0, 87.0))]
    records += [
        cub("LARE", 0, 50.0, shots=4),
        cub("LARE", 0, 40.0, imbalance=10.0),
        record("LARE", 0, 30.0),
        cub("TipAdapter", 0, 80.125),
    ]
    planned = [*records, cub("TipAdapter", 1, 80.125)]
    table = reference_table(cells(records, planned), "cub", records)
    lare = [row for row in table.rows if row[0] == "LARE"]
    assert lare == [
        ("LARE", "reported", "87.01 ± 0.04", "72.98 ± 0.16", "5"),
        ("LARE", "measured", "86.50 ± 0.71", "76.50 ± 0.71", "2"),
    ]
    reported = [row for row in table.rows if row[1] == "reported"]
    assert reported[:2] == [
        ("CLIP zero-shot", "reported", "63.27", "54.71", "–"),
        ("CoCa zero-shot", "reported", "73.63", "65.05", "–"),
    ]
    assert reported[2:5] == [
        ("CLIP fine-tune", "reported", "86.39 ± 0.03", "64.40 ± 0.16", "5"),
        ("CoCa fine-tune", "reported", "86.98 ± 0.16", "71.56 ± 0.12", "5"),
        ("LADS", "reported", "86.31 ± 0.15", "65.90 ± 0.15", "5"),
    ]
    assert ("LADS", "measured", "missing", "missing", "0") in table.rows
    assert ("TipAdapter", "measured", "80.12 †", "70.12 †", "1 of 2") in table.rows
    assert len(reported) == 6
    assert "arXiv 2409.12597" in table.notes[0]
    assert "not measured here" in table.notes[0]
    assert table.notes[1] == "measured: by the runs of this report on the frozen model coca_ViT-L-14."


def test_an_unknown_reference_is_refused():
    with pytest.raises(InputError, match=r"unknown reference 'cup': did you mean 'cub'"):
        reference_table(cells([record("LARE", 0)]), "cup")
