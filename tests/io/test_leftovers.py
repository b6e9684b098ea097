from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lare_dassl.io.leftovers import beside, remove_leftovers


@pytest.fixture(scope="module")
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(process, machine=None, name="record.json", suffix=".tmp"):
    own = beside(Path(name), suffix).name
    here = own.removeprefix(f".{name}.").partition("-")[0]
    return own.replace(f"-{os.getpid()}-", f"-{process}-").replace(here, machine or here)


def left(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_name_beside_a_path_is_hidden_and_nobody_elses(tmp_path):
    names = {beside(tmp_path / "record.json").name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(".record.json.") and name.endswith(".tmp") for name in names)
    assert beside(tmp_path / "record.json").parent == tmp_path


def test_what_an_ended_process_left_is_removed_and_nothing_else(tmp_path, ended):
    (tmp_path / name_of(ended)).write_text("half")
    folder = tmp_path / name_of(ended, name="train")
    folder.mkdir()
    (folder / "1.png").write_text("half")
    mine = beside(tmp_path / "record.json")
    kept = [mine.name, name_of(1), name_of(ended, machine="0123abcd"), ".notes.tmp", ".a.123-01234567.tmp", "b.tmp"]
    kept += [name_of(ended, suffix=".token")]
    for name in kept:
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert left(tmp_path) == sorted(kept)


def test_what_another_machine_left_is_removed_when_a_day_has_gone(tmp_path, ended):
    old, new = (tmp_path / name_of(ended, machine="0123abcd", name=name) for name in ("old", "new"))
    for path, age in ((old, 25), (new, 23)):
        path.write_text("")
        os.utime(path, times=2 * (time.time() - age * 3600,))
    remove_leftovers(tmp_path)
    assert left(tmp_path) == [new.name]


def test_tokens_of_another_machine_stay_for_ever(tmp_path, ended):
    theirs, ours = (tmp_path / name_of(ended, machine=machine, suffix=".token") for machine in ("0123abcd", None))
    for path in (theirs, ours):
        path.write_text("")
        os.utime(path, times=(0, 0))
    remove_leftovers(tmp_path, ".token")
    assert left(tmp_path) == [theirs.name]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    remove_leftovers(tmp_path / "none")
    assert left(tmp_path) == []
