from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.io.files import Marker, filled_folder, make_folder, replaced
from lare_dassl.io.leftovers import beside
from tests.io.test_leftovers import ENDED

FULL = "No space left on device: make room there and run again, what is done is kept"
MARKER = Marker("done.txt", "all of it\n")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def raising(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        assert make_folder(folder, "--output-dir") == folder
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_place_below_a_file_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(InputError, match=rf"^cannot write to {path} \(OUTPUT_DIR\): (File exists|Not a directory)$"):
        make_folder(path, "OUTPUT_DIR")
    with pytest.raises(InputError, match=f"^cannot write {path}/x: "), replaced(path / "x") as temporary:
        temporary.write_text("")


def test_a_refusal_of_the_system_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.touch", raising(errno.EACCES))
    with pytest.raises(InputError, match=r"\(OUTPUT_DIR\): Permission denied"):
        make_folder(tmp_path, "OUTPUT_DIR")
    monkeypatch.setattr(Path, "rename", raising(errno.EACCES))
    refused = pytest.raises(InputError, match=r"cannot write .*/train: Permission denied")
    with refused, filled_folder(tmp_path / "train", MARKER):
        pass
    # A network drive may say that it has no room when a file is flushed.
    monkeypatch.setattr(os, "fsync", raising(errno.EDQUOT))
    refused = pytest.raises(InputError, match=r"record\.json: .*quota exceeded: make room")
    with refused, replaced(tmp_path / "record.json") as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == []


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
    begun = replaced(path) if into == "a file" else filled_folder(path, MARKER)
    with pytest.raises(raised[0], match=raised[1]), begun as temporary:
        (temporary if into == "a file" else temporary / "1.txt").write_text("half")
        raise failure
    assert contents(tmp_path) == ({"old": "old"} if into == "a file" else {})
    assert list(tmp_path.iterdir()) == [path]


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


def test_an_incomplete_folder_is_replaced_and_a_file_is_not(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old.txt").write_text("old")
    (tmp_path / "train" / "done.txt").write_bytes(b"\xff")
    (tmp_path / "test").write_text("mine")
    with filled_folder(tmp_path / "train", MARKER):
        pass
    refused = pytest.raises(InputError, match=r"^cannot write .*/test: Not a directory$")
    with refused, filled_folder(tmp_path / "test", MARKER):
        pass
    assert contents(tmp_path) == {"train/done.txt": "all of it\n", "test": "mine"}


def fill_theirs(target):
    target.mkdir(exist_ok=True)
    (target / "1.txt").write_text("theirs")
    (target / "done.txt").write_text(MARKER.text)


@pytest.mark.parametrize("moment", ["while ours is filled", "before ours is moved", "before the old one is put aside"])
def test_a_folder_that_a_quicker_process_filled_stays(tmp_path, monkeypatch, moment):
    target, rename, moves = tmp_path / "train", Path.rename, []

    def late(path, goal):
        moves.append(goal)
        if len(moves) == 1:
            fill_theirs(target)
        return rename(path, goal)

    if moment.endswith("aside"):
        target.mkdir()
    with filled_folder(target, MARKER) as folder:
        (folder / "1.txt").write_text("ours")
        if moment.startswith("while"):
            fill_theirs(target)
        else:
            monkeypatch.setattr(Path, "rename", late)
    assert contents(tmp_path) == {"train/1.txt": "theirs", "train/done.txt": MARKER.text}


def test_making_and_writing_remove_files_of_killed_processes(tmp_path):
    left = beside(tmp_path / "model")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{ENDED}-"))
    for begin in (
        lambda: nullcontext(make_folder(tmp_path, "--output-dir")),
        lambda: replaced(tmp_path / "record.json"),
        lambda: filled_folder(tmp_path / "train", MARKER),
    ):
        left.write_text("half")
        with begin() as written:
            written.touch()
            assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.json", "train"]
