"""YAML as plain data, for configuration files and values on the command line.

Stricter than YAML where YAML is known to mislead: a repeated key, a tag that makes an object, and aliases that grow
without bound are refused; `010`, `1:30` and dates are strings, not 8, 90 and objects; `1e-3` is a number.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from lare_dassl.errors import InputError, shown

from .files import check_path

MOST_BYTES = 1_000_000
# Aliases of aliases, small as text and large in memory, exceed this number of values.
MOST_VALUES = 50_000
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
KEY_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "merge")}
# Errors that PyYAML raises on texts that it cannot take.
FAULTS = (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError)
NUMBERS = {
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the usual forms of numbers and without dates."""


_Loader.yaml_implicit_resolvers = {}
for _first, _resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
    _kept = [(tag, pattern) for tag, pattern in _resolvers if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    _Loader.yaml_implicit_resolvers[_first] = _kept
for _name, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list("-+.0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values; an empty file gives an empty dictionary.

    Raises:
        InputError: the file is missing, no plain file, too large, not in UTF-8, refused by `parse_yaml`, or holds
            something else than keys and values.
    """
    content = parse_yaml(_read_text(path), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, not a {type(content).__name__}")
    return content


def _read_text(path: Path) -> str:
    if path.suffix == ".py":
        raise InputError(f"{path} is a program: a config file is data, write it as YAML")
    check_path(str(path), "a config file")
    try:
        if not path.is_file():
            raise InputError(f"no config file {path}{': it is no plain file' if path.exists() else ''}")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes: a config file has at most {MOST_BYTES:,}")
        # Some editors write a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {error.reason} of UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise InputError(f"cannot read config file {path}: {error.strerror}") from error


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document into plain data.

    Args:
        text: the document.
        where: the file or command line that holds it, for the message.

    Raises:
        InputError: the text is no YAML, repeats a key, has a tag of an object, or repeats aliases too often.

    >>> parse_yaml("LR: 1e-3", "here")
    {'LR': 0.001}
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_plain(node, where)
        return loader.construct_document(node)
    except FAULTS as error:
        if isinstance(error, InputError):
            raise
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise InputError(f"{where} is not valid YAML: {cause}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_plain(root: yaml.Node, where: str) -> None:
    """Refuse all but plain data. An alias counts as often as it is used, so growth is noticed."""
    waiting, values = [root], 0
    while waiting:
        node = waiting.pop()
        values += 1
        if values > MOST_VALUES:
            raise InputError(f"{where} holds more than {MOST_VALUES:,} values, aliases written out: shorten it")
        if node.tag not in TAGS:
            raise InputError(f"{_line(where, node)}: the tag {shown(node.tag)} is refused: a config holds plain values")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            waiting += chain.from_iterable(node.value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(mapping: yaml.MappingNode, where: str) -> None:
    first: dict[str, yaml.Node] = {}
    for key, _ in mapping.value:
        if key.tag not in KEY_TAGS:
            raise InputError(f"{_line(where, key)}: a key is a name, not {_said(key)}: put it in quotes if it is one")
        if key.value in first and key.tag != "tag:yaml.org,2002:merge":
            line = first[key.value].start_mark.line + 1
            raise InputError(f"{_line(where, key)}: {shown(key.value)} is given twice, before in line {line}")
        first[key.value] = key


def _said(key: yaml.Node) -> str:
    return shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or keys and values"


def _line(where: str, node: yaml.Node) -> str:
    return f"{where}, line {node.start_mark.line + 1}"
