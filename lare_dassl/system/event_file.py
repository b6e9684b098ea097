"""tensorboard's event file: scalars alone, written at once.

torch's SummaryWriter writes in a thread, which prints a traceback of its own where the disk is full.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from lare_dassl.errors import unwritable

VERSION = "brain.Event:2"


class EventFile:
    """A new event file in a folder.

    Args:
        folder: which exists.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        # Importing tensorboard takes a while, and an evaluation needs none of it.
        from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        self._protocol = event_pb2, summary_pb2
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._records = RecordWriter(self._file)
        self._write(file_version=VERSION)

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write a value.

        Raises:
            InputError: the file cannot be written.
        """
        summary = self._protocol[1]
        value = summary.Summary.Value(tag=tag, simple_value=float(scalar_value))
        self._write(step=global_step or 0, summary=summary.Summary(value=[value]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **fields: Any) -> None:
        event = self._protocol[0].Event(wall_time=time.time(), **fields)
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
