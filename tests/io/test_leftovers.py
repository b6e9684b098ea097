from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lare_dassl.io.leftovers import beside, remove_leftovers

# No system gives a process so high a number.
ENDED = 2**30


def name_of(process, machine=None, name="record.json", suffix=".tmp"):
    own = beside(Path(name), suffix).name
    here = own.removeprefix(f".{name}.").partition("-")[0]
    return own.replace(f"-{os.getpid()}-", f"-{process}-").replace(here, machine or here)


def assert_kept(folder, names, kept, suffix=".tmp", age_hours=0.0):
    """Of files of such names and age, some are kept."""
    for name in names:
        (folder / name).write_text("half")
        os.utime(folder / name, times=2 * (time.time() - age_hours * 3600,))
    remove_leftovers(folder, suffix)
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(kept)


def test_a_name_beside_a_path_is_hidden_and_nobody_elses(tmp_path):
    names = {beside(tmp_path / "record.json").name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(".record.json.") and name.endswith(".tmp") for name in names)
    assert beside(tmp_path / "record.json").parent == tmp_path


def test_what_an_ended_process_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / name_of(ENDED, name="train") / "images").mkdir(parents=True)
    kept = [
        beside(Path("record.json")).name,
        name_of(1),
        name_of(ENDED, machine="0123abcd"),
        name_of(ENDED, suffix=".x"),
    ]
    kept += [".notes.tmp", ".a.123-01234567.tmp", "b.tmp"]
    assert_kept(tmp_path, [name_of(ENDED), *kept], kept)
    remove_leftovers(tmp_path / "none")


@pytest.mark.parametrize(("age_hours", "suffix", "kept"), [(23, ".tmp", 1), (25, ".tmp", 0), (10_000, ".token", 1)])
def test_files_of_another_machine_are_removed_after_a_day(tmp_path, age_hours, suffix, kept):
    """But for tokens, which stay for ever."""
    theirs, ours = (name_of(ENDED, machine=machine, suffix=suffix) for machine in ("0123abcd", None))
    assert_kept(tmp_path, [theirs, ours], [theirs] * kept, suffix, age_hours)
