"""JSON read from files that may be damaged or hostile, and the checksum that our own files hold of themselves."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

SEAL = "sha256"
"""The key of the checksum."""
MAX_DEPTH = 64
"""Lists and objects in each other; ours have some ten."""

Pairs = list[tuple[str, Any]]


def read_json(path: Path, pairs_hook: Callable[[Pairs], dict[str, Any]] | None = None) -> Any:
    """Read a JSON file with `parse_json`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no plain file, or `parse_json` refuses its text.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    return parse_json(path.read_text(encoding="utf-8"), pairs_hook)


def parse_json(text: str, pairs_hook: Callable[[Pairs], dict[str, Any]] | None = None) -> Any:
    """Parse a JSON text strictly: each key once, finite numbers only, at most MAX_DEPTH levels.

    Args:
        text: of the file.
        pairs_hook: makes a dictionary of the pairs of an object; the default refuses a repeated key.

    Raises:
        ValueError: the text is no JSON, has NaN or infinity, repeats a key, or is nested too deeply.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ...
    ValueError: 'a' is in it twice
    """
    try:
        content = json.loads(
            text, object_pairs_hook=pairs_hook or _once, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(content)
    return content


def _once(pairs: Pairs) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"'{twice}' is in it twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MAX_DEPTH):
        inside = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = list(chain.from_iterable(inside))
        if not level:
            return
    raise ValueError("it is nested too deeply")


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content as JSON gives it back, with its checksum; NaN and infinity become strings.

    Raises:
        TypeError: a value has no form in JSON.

    >>> opened(sealed({"seed": 0}), required=True)
    {'seed': 0}
    """
    plain = json.loads(json.dumps(content), parse_constant=lambda name: str(float(name)))
    return plain | {SEAL: _digest(plain)}


def opened(content: Any, required: bool = False) -> dict[str, Any]:
    """Check the content's checksum and return the content without it.

    Args:
        content: as JSON gave it.
        required: refuse a content without a checksum, as older versions wrote it.

    Raises:
        ValueError: the content is no dictionary, lacks a required checksum, or does not match it.
    """
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    if SEAL not in content and not required:
        return content
    plain = {key: value for key, value in content.items() if key != SEAL}
    if content.get(SEAL) != _digest(plain):
        raise ValueError(f"it is damaged: its content does not match its {SEAL}")
    return plain


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
