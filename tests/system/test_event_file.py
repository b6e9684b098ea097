from __future__ import annotations

import errno

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lare_dassl.errors import InputError
from lare_dassl.system.event_file import EventFile


def test_tensorboard_reads_what_was_written_at_once(tmp_path):
    events = EventFile(tmp_path)
    for step in (1, 2):
        events.add_scalar("train/loss", 0.5 / step, step)
    events.add_scalar("test/accuracy", 75)
    # Before it is closed: a kill costs nothing of it.
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    assert found.Scalars("test/accuracy")[0].value == 75.0
    events.close()


def test_two_in_one_folder_are_two_files(tmp_path):
    for _ in range(2):
        EventFile(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    with pytest.raises(InputError, match=rf"^cannot write {tmp_path}/none/events\.out\.tfevents.*: No such file"):
        EventFile(tmp_path / "none")


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    events = EventFile(tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(events._records, "write", full)
    with pytest.raises(InputError, match=r"^cannot write .*tfevents.*: No space left on device: make room there"):
        events.add_scalar("train/loss", 1.0, 1)
