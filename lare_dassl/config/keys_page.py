"""The page docs/keys.md, made from the table of keys; `python -m lare_dassl.config.keys_page FILE` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from .key import Key
from .keys import TABLE, default_of

HEAD = """# Keys of the configuration

A key is set by a YAML file, by a flag, or by a pair `KEY VALUE` behind the flags; the later one counts. This page is
made from the table in `lare_dassl/config/` by `make docs`; `python tools/train.py --help KEY` prints a row.

The column *affects* says where a key counts. A run goes on only with the values that it began with of the keys that
affect `data`, `encoding` or `training`, but for those that may change. All keys that affect these or `evaluation` tell
one cell of a benchmark from another. `speed`, `place` (of files) and `nothing` change no figure.

A key that is set, and that neither the trainer nor the dataset of a run reads, is named in a warning.
"""
TITLE = "| key | default | allowed | what | affects | read by | source |"


def page() -> str:
    """The text of docs/keys.md."""
    parts = [HEAD]
    for name in dict.fromkeys(map(_section, TABLE)):
        rows = [_line(row) for row in TABLE if _section(row) == name]
        parts += [f"## {name}\n", TITLE, "| --- " * TITLE.count(" | ") + "| --- |", *rows, ""]
    return "\n".join(parts)


def _section(row: Key) -> str:
    """Name of the part of the page with a row: its section, and of a trainer's keys the trainer's."""
    sections = row.name.split(".")[:-1]
    return ".".join(sections[: 2 if sections[:1] == ["TRAINER"] else 1]) or "The run"


def _line(row: Key) -> str:
    kind = row.type_name if row.entries else ""
    allowed = ", ".join(filter(None, (kind, row.allowed.in_words(), row.unit)))
    affects = ", ".join(row.affects) + (" (may change)" if row.may_change else "")
    cells = (f"`{row.name}`", f"`{default_of(row)}`", allowed, row.help, affects, ", ".join(row.readers), row.source)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
