"""Merging of files, KEY VALUE pairs and the defaults of trainers into a configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.errors import InputError, shown, unknown_name
from lare_dassl.host.door import TRAINER_REGISTRY, cfg_default, clean_cfg, get_cfg_default
from lare_dassl.io.yaml_files import parse_yaml, read_yaml

from .keys import KEYS, MAPPINGS, TABLE, extend, leaf_keys


def register() -> None:
    """Add the keys of the table to the host's default configuration; the stand-in for Dassl has none before."""
    extend(cfg_default)


def use_linear_probe_defaults(cfg: CfgNode) -> None:
    """Set what suits a linear classifier on embeddings; Dassl's own defaults are for networks on images.

    docs/lare.md shows how the values were chosen. Our tools call this for our trainers; in another train.py, its
    extend_cfg is the place, for these trainers alone: no other knows what MAX_EPOCH 0 stands for.
    """
    for row in TABLE:
        if row.on_embeddings is not None:
            merge_key(cfg, row.name, row.on_embeddings, where="defaults of trainers on embeddings")


def use_trainer_defaults(cfg: CfgNode, trainer: str) -> None:
    """Set what suits one of our trainers: the linear probe's settings, and the `defaults` of its class on top."""
    use_linear_probe_defaults(cfg)
    for key, value in getattr(TRAINER_REGISTRY.get(trainer), "defaults", {}).items():
        merge_key(cfg, key, value, where=f"defaults of {trainer}")


def merge_file(cfg: CfgNode, path: str | Path) -> None:
    """Merge a YAML file into a configuration.

    Raises:
        InputError: the file cannot be taken (see `read_yaml`), or holds an unknown key, one twice, or a value that the
            key does not take.
    """
    leaves = leaf_keys(read_yaml(Path(path)))
    counts = Counter(key for key, _ in leaves)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise InputError(f"{path}: {twice[0]} is given twice: give it once")
    for key, value in leaves:
        merge_key(cfg, key, value, where=str(path))


def merge_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Merge `KEY VALUE KEY VALUE ...` of a command line.

    Raises:
        InputError: a key without a value, an unknown key, or a value that the key does not take.
    """
    if len(overrides) % 2:
        raise InputError(f"overrides come in pairs KEY VALUE, but '{overrides[-1]}' has no partner")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        merge_key(cfg, key, value, where="command line")


def merge_key(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    """Set one key of a configuration, checking that it exists and that it takes the value.

    Args:
        cfg: changed in place.
        key: dotted name, such as TRAINER.LARE.ALPHA.
        value: a YAML value, or its text.
        where: the file or command line that names the key, for the message.

    Raises:
        InputError: an unknown key (with the nearest), a value of another type, or one out of the key's range.
    """
    if key.startswith("--"):
        raise InputError(f"{where}: the flag {key} comes after a KEY VALUE pair: put flags before the first pair")
    known = dict(leaf_keys(cfg))
    mapping = next((name for name in MAPPINGS if key == name or key.startswith(f"{name}.")), None)
    if mapping:
        _merge_entry(cfg, mapping, key.removeprefix(mapping).removeprefix("."), value, where)
        return
    if key not in known:
        raise InputError(f"{where}: {unknown_name('config key', key, _near(key, known))}")
    taken = _typed(key, value, known[key], where)
    fault = KEYS[key].allowed.fault(taken) if key in KEYS else ""
    if fault:
        raise InputError(f"{where}: {key} {fault}")
    cfg.merge_from_list([key, repr(taken) if isinstance(taken, str) else taken])


def _typed(key: str, value: Any, known: Any, where: str) -> Any:
    """The value for a key, converted to the type that the key has.

    Raises:
        InputError: the value is of another type.
    """
    holder = CfgNode({"VALUE": known})
    try:
        if value is None or (type(known) is float and isinstance(value, bool)):
            raise TypeError("yacs takes None for a value of any type, and float() a truth value for a number")
        holder.merge_from_list(["VALUE", _literal(value, known)])
        if isinstance(known, list | tuple):
            _check_entries(holder.VALUE, known)
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        expected = type(known).__name__
        raise InputError(f"{where}: {key} takes a value of type {expected}, not {shown(value)}") from error
    return holder.VALUE


def _check_entries(entries: list[Any] | tuple[Any, ...], known: list[Any] | tuple[Any, ...]) -> None:
    """Refuse entries that the list cannot hold: all must be numbers, or all strings (a number is read as a string).

    Raises:
        TypeError: an entry is of another kind.
    """
    kinds: tuple[type, ...] = (str, int, float)
    if known and not isinstance(known[0], str):
        kinds = (int, float) if isinstance(known[0], float) else (type(known[0]),)
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, kinds):
            raise TypeError(f"an entry cannot be {shown(entry)}")


def _merge_entry(cfg: CfgNode, mapping: str, name: str, value: Any, where: str) -> None:
    """Set one entry of a key that holds entries; the key itself takes {} alone, which removes all of them."""
    section, key = mapping.split(".")
    if not name and value not in ({}, "{}"):
        raise InputError(f"{where}: {mapping} takes entries NAME: VALUE (on a command line {mapping}.NAME VALUE)")
    if not name:
        cfg[section][key] = CfgNode(new_allowed=True)
        return
    types = MAPPINGS[mapping]
    value = _read_literal(value) if str not in types or str(value).startswith("[") else value
    texts = not isinstance(value, list) or all(isinstance(one, str) for one in value)
    if not isinstance(value, types) or isinstance(value, bool) or not texts:
        expected = " or ".join(kind.__name__ for kind in types)
        raise InputError(f"{where}: {mapping}.{name} takes a value of type {expected}, not {shown(value)}")
    fault = KEYS[mapping].allowed.fault([value] if isinstance(value, str) else value)
    if fault:
        raise InputError(f"{where}: {mapping}.{name} {fault}")
    cfg[section][key][name] = value


def _read_literal(value: Any) -> Any:
    """A value of a command line as YAML reads it; a value of a file is already read."""
    try:
        return parse_yaml(value, "") if isinstance(value, str) else value
    except InputError:
        return value


def _literal(value: Any, known: Any) -> Any:
    """A value as yacs is to read it.

    A whole number is taken for a float. A string is not evaluated. A list may be written as in YAML; a list of one
    entry may be written as that entry.
    """
    if type(known) is float:
        return float(value)
    if isinstance(known, list | tuple) and isinstance(value, str) and not value.startswith("("):
        read = _read_literal(value)
        if isinstance(read, list | tuple):
            return read
        return [read] if known and not isinstance(known[0], str) else [value]
    return repr(value) if isinstance(value, str) and isinstance(known, str) else value


def _near(key: str, known: dict[str, Any]) -> list[str]:
    """Candidates for a misspelt key: the keys below it, else those of its section, else all keys."""
    section = key.rpartition(".")[0]
    below = [name for name in known if name.startswith(f"{key}.")]
    return below or [name for name in known if name.rpartition(".")[0] == section] or list(known)


def new_config() -> CfgNode:
    """The host's default configuration with our keys, to merge files and overrides into."""
    register()
    return get_cfg_default()


def finish(cfg: CfgNode, section: str = "") -> CfgNode:
    """Drop the settings of trainers that do not run, and freeze.

    Args:
        cfg: changed in place.
        section: section of the trainer's settings, such as "TRAINER.LARE"; "" for the trainer's own name.
    """
    clean_cfg(cfg, section.rpartition(".")[2] or cfg.TRAINER.NAME)
    cfg.freeze()
    return cfg
