from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.io.files import Marker, filled_folder, make_folder, replaced
from lare_dassl.io.leftovers import beside

FULL = "No space left on device: make room there and run again, what is done is kept"
MARKER = Marker("done.txt", "all of it\n")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def raising(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    folder = make_folder(tmp_path / "a" / "b", "--output-dir")
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []
    assert make_folder(folder, "--output-dir") == folder


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_place_below_a_file_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(InputError) as error:
        make_folder(path, "OUTPUT_DIR")
    assert str(error.value).startswith(f"cannot write to {path} (OUTPUT_DIR): ")
    assert not str(error.value).endswith("None")
    with pytest.raises(InputError, match=f"^cannot write {path}/x: "), replaced(path / "x") as temporary:
        temporary.write_text("")


def test_a_folder_without_write_permission_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.touch", raising(errno.EACCES))
    with pytest.raises(InputError, match=r"\(OUTPUT_DIR\): Permission denied"):
        make_folder(tmp_path, "OUTPUT_DIR")


def test_a_file_takes_its_place_only_once_it_is_whole(tmp_path, monkeypatch):
    path, flushed = tmp_path / "new" / "record.json", []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append((os.fstat(file).st_size, path.exists())))
    with replaced(path) as temporary:
        temporary.write_text("first")
        assert temporary.parent == path.parent
    assert flushed == [(5, False)]
    # Moved into place, not copied: who has the old file open still reads the whole of it.
    with path.open() as reader:
        with replaced(path) as temporary:
            temporary.write_text("second")
            assert path.read_text() == "first"
        assert reader.read() == "first"
    assert contents(tmp_path) == {"new/record.json": "second"}


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (RuntimeError("bad"), (RuntimeError, "^bad$")),
        (KeyboardInterrupt(), (KeyboardInterrupt, None)),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), (InputError, f"^cannot write .*/old: {FULL}$")),
    ],
)
@pytest.mark.parametrize("into", ["a file", "a folder"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, failure, raised, into):
    path = tmp_path / "old"
    path.write_text("old") if into == "a file" else path.mkdir()
    with (
        pytest.raises(raised[0], match=raised[1]),
        replaced(path) if into == "a file" else filled_folder(path, MARKER) as temporary,
    ):
        (temporary if into == "a file" else temporary / "1.txt").write_text("half")
        raise failure
    assert contents(tmp_path) == ({"old": "old"} if into == "a file" else {})
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_drive_that_has_no_room_after_all_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", raising(errno.EDQUOT))
    with pytest.raises(InputError, match=r"record\.json: .*quota exceeded: make room"), replaced(path) as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"record.json": "old"}


def test_a_folder_takes_its_place_only_once_it_is_filled(tmp_path):
    target = tmp_path / "new" / "train"
    with filled_folder(target, MARKER) as folder:
        (folder / "1.txt").write_text("one")
        assert folder.parent == target.parent
        assert not target.exists()
    assert contents(tmp_path) == {"new/train/1.txt": "one", "new/train/done.txt": "all of it\n"}
    assert MARKER.is_in(target)
    assert not Marker("done.txt", "all of another").is_in(target)
    assert not MARKER.is_in(tmp_path)


def test_a_folder_with_another_marker_is_replaced_and_a_file_is_not(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old.txt").write_text("old")
    (tmp_path / "train" / "done.txt").write_bytes(b"\xff")
    with filled_folder(tmp_path / "train", MARKER):
        pass
    (tmp_path / "test").write_text("mine")
    refused = pytest.raises(InputError, match=r"^cannot write .*/test: Not a directory$")
    with refused, filled_folder(tmp_path / "test", MARKER):
        pass
    assert contents(tmp_path) == {"train/done.txt": "all of it\n", "test": "mine"}


def quicker_than_the_move(monkeypatch, target):
    """Another process fills the folder when ours is about to be moved."""
    rename = Path.rename

    def late(path, goal):
        if goal == target and not target.exists():
            fill_theirs(target)
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", late)


def quicker_than_the_removal(monkeypatch, target):
    """Another process completes the old folder when it is about to be put aside."""
    target.mkdir()
    (target / "done.txt").write_text("of another version")
    rename = Path.rename

    def late(path, goal):
        if path == target and not (target / "1.txt").exists():
            fill_theirs(target)
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", late)


def fill_theirs(target):
    target.mkdir(exist_ok=True)
    (target / "1.txt").write_text("theirs")
    (target / "done.txt").write_text(MARKER.text)


@pytest.mark.parametrize("race", [None, quicker_than_the_move, quicker_than_the_removal])
def test_a_folder_that_a_quicker_process_filled_stays(tmp_path, monkeypatch, race):
    target = tmp_path / "train"
    if race:
        race(monkeypatch, target)
    with filled_folder(target, MARKER) as folder:
        (folder / "1.txt").write_text("ours")
        if race is None:
            fill_theirs(target)
    assert contents(tmp_path) == {"train/1.txt": "theirs", "train/done.txt": MARKER.text}


def test_a_folder_that_cannot_be_put_in_place_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "rename", raising(errno.EACCES))
    with (
        pytest.raises(InputError, match=r"cannot write .*/train: Permission denied"),
        filled_folder(tmp_path / "train", MARKER),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_making_and_writing_remove_files_of_killed_processes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    name = beside(tmp_path / "model").name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (tmp_path / name).write_text("half")
    make_folder(tmp_path, "--output-dir")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).write_text("half")
    with replaced(tmp_path / "record.json") as temporary:
        temporary.write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    (tmp_path / name).write_text("half")
    with filled_folder(tmp_path / "train", MARKER):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json", "train"]
