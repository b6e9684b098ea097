"""A row of the table of keys, and how rows are written down."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields, replace
from typing import Any

from lare_dassl.methods.shared.settings import ANY, Allowed, Settings

# Values of `affects`.
DATA, ENCODING, TRAINING = ("data",), ("encoding",), ("training",)
EVALUATION, SPEED, PLACE, NOTHING = ("evaluation",), ("speed",), ("place",), ("nothing",)
# Values of `readers`.
EVERY_RUN = ("every run",)
OURS, IMAGES = ("trainers on embeddings",), ("trainers on images",)
ENCODER = ("the encoder",)
OUR_DATASETS, OTHER_DATASETS = ("datasets of lare_dassl",), ("other datasets",)


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: dotted, such as TRAINER.LARE.ALPHA; inside a section its last part alone.
        default: value where nothing sets it; its type is the key's type.
        help: one line on its meaning.
        allowed: range or choices.
        unit: of a number.
        affects: "data", "encoding", "training", "evaluation", "speed", "place" (of files), or "nothing" that is learned
            or measured.
        readers: what reads it; see `keys.unread`.
        source: the paper or project that it comes from.
        entries: types of an entry, of a key that holds entries under names of the user's choosing.
        may_change: a resumed run may have another value: the identity of a run holds the content that it names, or it
            sets the length of the training alone.
        own: each run of a benchmark has its own value.
        column: it has a column or a rule of its own in tables of runs.
        file: it may name a file; then the file's content decides, not its name.
        unless: a key and the value of it under which this one has no effect.
        on_embeddings: default for trainers on embeddings, where that is another.
        later: newer than the names of a benchmark's folders, which hold it only where it is not at its default.
    """

    name: str
    default: Any
    help: str
    allowed: Allowed = ANY
    unit: str = ""
    affects: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    source: str = ""
    entries: tuple[type, ...] = ()
    may_change: bool = False
    own: bool = False
    column: bool = False
    file: bool = False
    unless: tuple[str, Any] | None = None
    on_embeddings: Any = None
    later: bool = False

    @property
    def type_name(self) -> str:
        """Name of the key's type, such as "float"; of a key that holds entries, that of an entry."""
        kinds = " or ".join(kind.__name__ for kind in self.entries)
        return f"{kinds} for each name" if kinds else type(self.default).__name__


def section(name: str, *rows: Key, **shared: Any) -> tuple[Key, ...]:
    """Rows of one section, with its name before theirs.

    Args:
        name: of the section, such as TRAINER.LARE; "" for the top.
        rows: with the last parts of their names.
        shared: attributes of those rows that do not give them.
    """
    return tuple(_in_section(name, row, shared) for row in rows)


def _in_section(name: str, row: Key, shared: dict[str, Any]) -> Key:
    missing = {attribute: value for attribute, value in shared.items() if not getattr(row, attribute)}
    return replace(row, name=f"{name}.{row.name}" if name else row.name, **missing)


def rows_of(settings: type[Settings]) -> tuple[Key, ...]:
    """Rows with the defaults, ranges and meanings of a settings class."""
    return tuple(_row_of(one) for one in fields(settings))


def _row_of(setting: Field[Any]) -> Key:
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    facts = setting.metadata
    return Key(key_of(setting), default, facts["help"], facts["allowed"], facts["unit"])


def key_of(setting: Field[Any]) -> str:
    """Name of the key that holds a field of a settings class."""
    return str(setting.metadata["key"] or setting.name.upper())
