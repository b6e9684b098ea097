"""Ways to damage a file's bytes and a JSON content, as hypothesis draws them, and how many are tried."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("LARE_DASSL_FUZZ", "1"))
"""Factor on the number of cases; above 1 other cases are drawn each time."""

Damage = Callable[[bytes], bytes]
Place = tuple[float, tuple[float, float]]
"""A byte of a file: as a share of a part, which is given as two shares of the file."""

HOSTILE_TEXTS = (
    *("", "<script>alert(1)</script>", '"', "\\", "{}", "{0.__class__}", "%", "%s%n", "_", "&", "a\nb", "../../x"),
    *("\x00", "\u202eabc", "\x1b[31m\x1b]0;x\x07", "=cmd|' /C calc'!A0", "@x", "\ud800", "$\\input{x}$", "|", "`"),
    *("/etc", "9" * 400),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**30, -(10**30), 1e308, 0.5, [], {}, [[[]]], {"a": {"b": []}}, ["x"], [1, 2]),
    *HOSTILE_TEXTS,
)


def campaign(cases: int, drawn: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Call a check with so many drawn values, times TIMES."""

    @settings(
        max_examples=cases * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(drawn)
    def run(value: Any) -> None:
        check(value)

    run()


def damages(content: bytes = b"", *parts: tuple[float, float]) -> st.SearchStrategy[Damage]:
    """One damage of a file's bytes; in half of all cases a flipped bit.

    Args:
        content: of a safetensors file, whose parts are damaged as often as the whole.
        parts: of another file.
    """
    ends = ((0.0, 0.01), (0.99, 1.0), (0.0, 1.0), (0.0, 1.0))
    place = st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from([*ends, *safetensors_parts(content), *parts]))
    piece, count = st.binary(min_size=1, max_size=9), st.integers(1, 64)
    others = [
        st.builds(lambda place, piece: _splice(place, piece, len(piece)), place, piece),
        st.builds(lambda place, piece: _splice(place, piece, 0), place, piece),
        st.builds(lambda place: lambda content: content[: _position(place, content)], place),
        st.builds(lambda place, count: _splice(place, b"", count), place, count),
        st.builds(lambda place, count: _splice(place, bytes(count), count), place, count),
        st.builds(_exchange, place, place),
        st.builds(lambda tail: lambda content: content + tail, st.binary(min_size=1, max_size=40)),
        st.builds(lambda whole: lambda _: whole, st.one_of(st.just(b""), st.binary(max_size=60))),
    ]
    flips = st.builds(
        lambda place, bit: lambda content: flip_at(_position(place, content), bit)(content), place, st.integers(0, 7)
    )
    return st.one_of(*[flips] * len(others), *others)


def safetensors_parts(content: bytes) -> list[tuple[float, float]]:
    """The length, the header and both halves of the data of a safetensors file, as shares of it."""
    data = 8 + int.from_bytes(content[:8], "little")
    bounds = [0, 8, data, data + (len(content) - data) // 2, len(content)]
    return [(low / len(content), high / len(content)) for low, high in pairwise(bounds)] if content else []


def flip_at(position: int, bit: int) -> Damage:
    """One bit of one byte flipped; an empty file stays as it is."""
    return lambda content: (
        content[:position]
        + bytes(mark ^ (1 << bit) for mark in content[position : position + 1])
        + content[position + 1 :]
    )


def _position(place: Place, content: bytes) -> int:
    """The number of a byte, below the size of the content."""
    share, part = place
    low, high = (int(len(content) * bound) for bound in part)
    return min(low + int(share * (high - low)), max(len(content) - 1, 0))


def _splice(place: Place, piece: bytes, removed: int) -> Damage:
    def damage(content: bytes) -> bytes:
        position = _position(place, content)
        return content[:position] + piece + content[position + removed :]

    return damage


def _exchange(first: Place, second: Place, count: int = 16) -> Damage:
    """Two pieces of the file in each other's place."""

    def damage(content: bytes) -> bytes:
        low, high = sorted((_position(first, content), _position(second, content)))
        pieces = content[low : low + count], content[high : high + count]
        if low + count > high or len(pieces[1]) < count:
            return content
        return content[:low] + pieces[1] + content[low + count : high] + pieces[0] + content[high + count :]

    return damage


def json_changes() -> st.SearchStrategy[Callable[[Any], Any]]:
    """One change of a JSON content: some value in it, drawn by a walk, replaced, dropped, or put under another key."""
    steps = st.lists(st.integers(0, 40), max_size=4)
    return st.builds(_change, steps, st.sampled_from(HOSTILE_VALUES), st.integers(0, 2))


def _change(steps: Sequence[int], value: Any, kind: int) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        content = copy.deepcopy(content)
        node, parent, key = content, None, None
        for step in steps:
            keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
            if not keys:
                break
            parent, key = node, keys[step % len(keys)]
            node = node[key]
        if parent is None:
            return value
        if kind == 0 or isinstance(parent, list):
            parent[key] = copy.deepcopy(value)
        elif kind == 1:
            del parent[key]
        else:
            parent[value if isinstance(value, str) else "other"] = parent.pop(key)
        return content

    return change
