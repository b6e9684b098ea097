from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.io import leftovers
from lare_dassl.io.files import Marker, filled_folder, make_folder, replaced

FULL = "No space left on device: make room there and run again, what is done is kept"


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    folder = make_folder(tmp_path / "a" / "b", "--output-dir")
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []
    assert make_folder(folder, "--output-dir") == folder


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_folder_that_cannot_be_made_is_named_with_its_key(tmp_path, below):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(InputError) as error:
        make_folder(path, "OUTPUT_DIR")
    assert str(error.value).startswith(f"cannot write to {path} (OUTPUT_DIR): ")
    assert not str(error.value).endswith("None")


def test_a_folder_without_write_permission_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(InputError, match=r"\(OUTPUT_DIR\): Permission denied"):
        make_folder(tmp_path, "OUTPUT_DIR")


def test_a_file_takes_its_place_only_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "record.json"
    with replaced(path) as temporary:
        temporary.write_text("first")
        assert temporary.parent == path.parent
        assert not path.exists()
    with replaced(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    # Moved into place, not copied: who has the old file open still reads the whole of it.
    with path.open() as reader:
        with replaced(path) as temporary:
            temporary.write_text("third")
        assert reader.read() == "second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [RuntimeError("bad"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "record.json"
    path.write_text("old")
    with pytest.raises(type(failure)), replaced(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(InputError) as error, replaced(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(error.value) == f"cannot write {path}: {FULL}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["record.json", "sub/record.json"])
def test_a_file_below_a_file_is_told(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as error, replaced(tmp_path / "file" / below) as temporary:
        temporary.write_text("")
    assert str(error.value).startswith(f"cannot write {tmp_path / 'file' / below}: ")


MARKER = Marker("done.txt", "all of it\n")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


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


def test_a_folder_with_another_marker_is_replaced(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old.txt").write_text("old")
    (tmp_path / "train" / "done.txt").write_bytes(b"\xff")
    with filled_folder(tmp_path / "train", MARKER):
        pass
    assert contents(tmp_path) == {"train/done.txt": "all of it\n"}


@pytest.mark.parametrize("failure", [RuntimeError("bad"), KeyboardInterrupt()])
def test_a_folder_that_could_not_be_filled_is_not_left(tmp_path, failure):
    with pytest.raises(type(failure)), filled_folder(tmp_path / "train", MARKER) as folder:
        (folder / "1.txt").write_text("one")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_what_a_quicker_process_filled_stays(tmp_path):
    with filled_folder(tmp_path / "train", MARKER) as folder:
        (folder / "1.txt").write_text("ours")
        with filled_folder(tmp_path / "theirs", MARKER) as other:
            (other / "1.txt").write_text("theirs")
        (tmp_path / "theirs").rename(tmp_path / "train")
    assert contents(tmp_path) == {"train/1.txt": "theirs", "train/done.txt": "all of it\n"}


def test_a_folder_that_a_full_disk_stops_is_one_line(tmp_path):
    with pytest.raises(InputError) as error, filled_folder(tmp_path / "train", MARKER):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(error.value) == f"cannot write {tmp_path / 'train'}: {FULL}"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_quicker_process_puts_in_place_at_that_moment_stays(tmp_path, monkeypatch):
    rename = Path.rename

    def beaten(temporary, target):
        rename(temporary, target)
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(Path, "rename", beaten)
    with filled_folder(tmp_path / "train", MARKER):
        pass
    assert MARKER.is_in(tmp_path / "train")


def test_a_folder_that_cannot_be_put_in_place_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(InputError, match=r"cannot write .*/train: Permission denied"),
        filled_folder(tmp_path / "train", MARKER),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def left_by_a_killed_process(folder):
    """A file under the name that an ended process has given it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = folder / f".model.{leftovers._machine()}-{process.pid}-0123abcd.tmp"
    path.write_text("half")
    return path


def test_making_a_folder_and_writing_into_it_remove_what_killed_processes_left(tmp_path):
    left_by_a_killed_process(tmp_path)
    make_folder(tmp_path, "--output-dir")
    assert list(tmp_path.iterdir()) == []
    left_by_a_killed_process(tmp_path)
    with replaced(tmp_path / "record.json") as temporary:
        temporary.write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    left_by_a_killed_process(tmp_path)
    with filled_folder(tmp_path / "train", MARKER):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json", "train"]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    seen = []

    def flushed(descriptor):
        seen.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", flushed)
    with replaced(path) as temporary:
        temporary.write_text("whole")
    assert seen == [(5, False)]


def test_a_network_drive_that_has_no_room_after_all_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    path.write_text("old")

    def full(_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"record\.json: Disk quota exceeded: make room"), replaced(path) as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == {"record.json": "old"}


def test_a_folder_that_another_process_makes_whole_at_the_last_moment_stays(tmp_path, monkeypatch):
    target = tmp_path / "train"
    target.mkdir()
    (target / "done.txt").write_text("of another version")
    rename = Path.rename

    def late(path, goal):
        if path == target and not (target / "1.txt").exists():
            (target / "1.txt").write_text("theirs")
            (target / "done.txt").write_text(MARKER.text)
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", late)
    with filled_folder(target, MARKER) as folder:
        (folder / "1.txt").write_text("ours")
    assert contents(tmp_path) == {"train/1.txt": "theirs", "train/done.txt": MARKER.text}


def test_a_file_in_the_place_of_a_folder_is_told_and_kept(tmp_path):
    (tmp_path / "train").write_text("mine")
    told = r"^cannot write .*/train: Not a directory$"
    with pytest.raises(InputError, match=told), filled_folder(tmp_path / "train", MARKER):
        pass
    assert contents(tmp_path) == {"train": "mine"}
