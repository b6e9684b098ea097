"""The table of keys: everything that a configuration may hold, Dassl's keys and ours, a row for each.

Whatever depends on the kind of a key is derived here from its row: which keys tell one run from another, which decide
the outcome of a benchmark's cell, which images and texts are encoded, and which keys nothing reads.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from yacs.config import CfgNode

from lare_dassl.errors import unknown_name

from .data_keys import DATASET_KEYS, INPUT_KEYS, READING_KEYS
from .key import DATA, ENCODER, ENCODING, EVALUATION, IMAGES, OTHER_DATASETS, OUR_DATASETS, OURS, TRAINING, Key
from .method_keys import COOP_KEYS, DASSL_METHOD_KEYS, OUR_METHOD_KEYS
from .model_keys import EMBEDDINGS_KEYS, MODEL_KEYS, VLM_KEYS
from .training_keys import CLASSIFIER_KEYS, OPTIM_KEYS, RUN_KEYS, TEST_KEYS, TRAIN_KEYS, TRAINER_NAME

TABLE = (
    *RUN_KEYS,
    *INPUT_KEYS,
    *DATASET_KEYS,
    *READING_KEYS,
    *MODEL_KEYS,
    *OPTIM_KEYS,
    *TRAIN_KEYS,
    *TEST_KEYS,
    TRAINER_NAME,
    *DASSL_METHOD_KEYS,
    *VLM_KEYS,
    *EMBEDDINGS_KEYS,
    *CLASSIFIER_KEYS,
    *OUR_METHOD_KEYS,
    *COOP_KEYS,
)
KEYS = {row.name: row for row in TABLE}
# Keys that hold entries under names of the user's choosing, with the types of an entry.
MAPPINGS = {row.name: row.entries for row in TABLE if row.entries}
# Keys of which each run of a benchmark has its own value.
OWN_KEYS = tuple(row.name for row in TABLE if row.own)
# Keys that may name a file whose content decides.
FILE_KEYS = tuple(row.name for row in TABLE if row.file)

# Keys without effect on trainers on embeddings.
KEYS_OF_IMAGES = tuple(row.name for row in TABLE if row.readers == IMAGES)

OUTCOME = {*DATA, *ENCODING, *TRAINING, *EVALUATION}
_LEARNING = {*DATA, *ENCODING, *TRAINING}
# Readers of a run of ours, whatever its dataset.
_EMBEDDING_RUNS = {*OURS, *ENCODER, *OUR_DATASETS, *OTHER_DATASETS, "every run"}


def extend(cfg: CfgNode) -> None:
    """Add the keys of the table that a configuration lacks, with their defaults, in place."""
    for row in TABLE:
        *sections, name = row.name.split(".")
        node = cfg
        for part in sections:
            node = node.setdefault(part, CfgNode())
        if name not in node:
            node[name] = CfgNode(new_allowed=True) if row.entries else copy.deepcopy(row.default)


def leaf_keys(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """All keys of a configuration by their dotted names, with their values.

    >>> leaf_keys({"OPTIM": {"LR": 0.1}, "SEED": 0})
    [('OPTIM.LR', 0.1), ('SEED', 0)]
    """
    leaves: list[tuple[str, Any]] = []
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and prefix.removesuffix(".") not in MAPPINGS:
            leaves += leaf_keys(value, f"{key}.")
        else:
            leaves.append((key, value))
    return leaves


def row_of(key: str) -> Key | None:
    """The row of a key, or of the key that it is an entry of; None for a key that a plugin has added."""
    return KEYS.get(key) or next((KEYS[name] for name in MAPPINGS if key.startswith(f"{name}.")), None)


def tells_runs_apart(key: str) -> bool:
    """A run of ours cannot go on under another value of this key."""
    row = row_of(key)
    if row is None:
        return True
    return not row.may_change and not _LEARNING.isdisjoint(row.affects) and not _EMBEDDING_RUNS.isdisjoint(row.readers)


def run_settings(cfg: CfgNode) -> dict[str, str]:
    """The settings that determine the course of a training on embeddings, as texts by their keys."""
    return {key: str(value) for key, value in leaf_keys(cfg) if tells_runs_apart(key)}


def free_in_tests(key: str) -> bool:
    """A trained model may be tested under another value of this key; the seed has done its work by then."""
    row = row_of(key)
    return row is not None and (key == "SEED" or (not row.may_change and "evaluation" in row.affects))


def cell_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that decide the outcome of a run of a given seed, as texts by their keys."""
    leaves = dict(leaf_keys(config))
    return {key: str(value) for key, value in leaves.items() if _decides(key, value, leaves)}


def _decides(key: str, value: Any, leaves: Mapping[str, Any]) -> bool:
    row = row_of(key)
    if row is None:
        return True
    hidden = row.unless is not None and leaves.get(row.unless[0]) == row.unless[1]
    hidden = hidden or (row.later and value == row.default)
    return key != "SEED" and not hidden and not OUTCOME.isdisjoint(row.affects)


def shown_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The `cell_settings` without a column of their own in tables of runs."""
    return {key: value for key, value in cell_settings(config).items() if not (key in KEYS and KEYS[key].column)}


def encoding_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that say which images and texts are encoded, how, and where they are kept."""
    return {key: str(value) for key, value in leaf_keys(config) if _is_of_encoding(row_of(key))}


def _is_of_encoding(row: Key | None) -> bool:
    return row is not None and not row.own and not {"data", "encoding", "place", "speed"}.isdisjoint(row.affects)


def unread(
    cfg: CfgNode, readers: Collection[str], ignored: Iterable[str] = (), usual: Mapping[str, Any] | None = None
) -> list[str]:
    """The keys that are set, and read by nothing in a run.

    Sections of trainers are left out: their own trainer reads them, and a configuration file may serve several methods.

    Args:
        cfg: the whole configuration.
        readers: values of `Key.readers` that take part in the run.
        ignored: keys without effect on the trainer, or sections with a dot behind them.
        usual: values of keys that the trainer sets by itself.
    """
    usual, starts, found = usual or {}, tuple(ignored), []
    for key, value in leaf_keys(cfg):
        row = row_of(key)
        if row is None or key.startswith("TRAINER."):
            continue
        read = not {"every run", *readers}.isdisjoint(row.readers) and not f"{key}.".startswith(starts)
        if not read and _plain(value) not in (_plain(row.default), _plain(usual.get(key, row.default))):
            found.append(row.name)
    return list(dict.fromkeys(found))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def of_other_trainers(names: Iterable[str], section: str) -> list[str]:
    """The keys that belong to the section of another trainer than this, such as TRAINER.LARE."""
    rows = [name for name in names if name.startswith("TRAINER.") and name != TRAINER_NAME.name]
    return [name for name in dict.fromkeys(rows) if not name.startswith(f"{section}.")]


def readers_of(*, on_embeddings: bool | None, our_dataset: bool, brings_embeddings: bool) -> set[str]:
    """The readers that take part in a run.

    Args:
        on_embeddings: the trainer is one of ours; else it is one on images; None where nothing is trained.
        our_dataset: the dataset is one of ours.
        brings_embeddings: the dataset has its embeddings with it.
    """
    trainer = {True: OURS, False: IMAGES, None: ()}[on_embeddings]
    encoder = ENCODER if on_embeddings is not False and not brings_embeddings else ()
    return {*trainer, *encoder, *(OUR_DATASETS if our_dataset else OTHER_DATASETS)}


def default_of(row: Key) -> str:
    """The default of a key as text, and that for trainers on embeddings where it is another."""
    own = f", on embeddings {row.on_embeddings!r}" if row.on_embeddings is not None else ""
    return f"{row.default!r}{own}"


def help_of(name: str) -> str:
    """All that the table says of a key, as lines of text.

    >>> print(help_of("OPTIM.GAMMA"))
    OPTIM.GAMMA: factor by which single_step and multi_step lower the learning rate
      default  0.1 (float)
      allowed  in [0, 1]
      affects  training
      read by  trainers on embeddings, trainers on images
      source   Dassl

    Raises:
        InputError: there is no such key; names the nearest one.
    """
    row = row_of(name)
    if row is None:
        raise unknown_name("config key", name, KEYS)
    facts = {
        "default": f"{default_of(row)} ({row.type_name})",
        "allowed": row.allowed.in_words(),
        "unit": row.unit,
        "affects": ", ".join(row.affects),
        "read by": ", ".join(row.readers),
        "source": row.source,
    }
    return "\n".join([f"{row.name}: {row.help}", *(f"  {title:<7}  {text}" for title, text in facts.items() if text)])
