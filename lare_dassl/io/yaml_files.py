"""YAML as plain data: what a configuration file or a value of a command line says, and nothing that surprises.

Stricter than YAML where YAML is known to mislead: a key given twice, a tag that makes an object, and aliases that grow
without bound are refused; `010`, `1:30` and dates are texts, not 8, 90 and objects; `1e-3` is a number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lare_dassl.errors import InputError, shown

from .files import check_path

MOST_BYTES = 1_000_000
# More values than this come of aliases of aliases, which are small as text and large in memory.
MOST_VALUES = 50_000
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
KEY_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "merge")}
# What PyYAML raises on texts that it cannot take, beside its own errors.
FAULTS = (yaml.YAMLError, ValueError, OverflowError, TypeError, RecursionError)
NUMBERS = {
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with numbers as everybody writes them, and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list("-+.0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file; an empty one holds nothing.

    Raises:
        InputError: it is missing, no plain file, too large, no text in UTF-8, or not what `parse_yaml` takes, or it
            holds something else than keys and values.
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
        # A byte order mark, which some editors write, says nothing.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {error.reason} of UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise InputError(f"cannot read config file {path}: {error.strerror}") from error


def parse_yaml(text: str, where: str) -> Any:
    """The data that a YAML text holds.

    Args:
        text: one document.
        where: the file or command line that holds it, for the message.

    Raises:
        InputError: it is no YAML, gives a key twice, has a tag that stands for an object, or repeats aliases too often.
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
    """Refuse what is no plain data. An alias is looked into as often as it stands there, so that growth is seen."""
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
            waiting += [part for pair in node.value for part in pair]
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
