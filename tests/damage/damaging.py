"""Ways to damage a file's bytes and a JSON content, as hypothesis draws them, and how many are tried."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("LARE_DASSL_FUZZ", "1"))
"""How many times as many cases as usual; above 1 they are other ones each time."""

Damage = Callable[[bytes], bytes]

HOSTILE_TEXTS = (
    *("", "<script>alert(1)</script>", '"', "\\", "{}", "{0.__class__}", "%", "%s%n", "_", "&", "a\nb", "../../x"),
    *("\x00", "\u202eabc", "\x1b[31m\x1b]0;x\x07", "=cmd|' /C calc'!A0", "@x", "\ud800", "$\\input{x}$", "|", "`"),
    *("/etc", "9" * 400),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**30, -(10**30), 1e308, 0.5, [], {}, [[[]]], {"a": {"b": []}}, ["x"], [1, 2]),
    *HOSTILE_TEXTS,
)


def tried(cases: int) -> settings:
    """The settings of a campaign of so many cases."""
    return settings(
        max_examples=cases * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@dataclass(frozen=True)
class Place:
    """Where in a file: a byte, counted from the start of one of its parts, or from the end."""

    share: float
    part: tuple[float, float] = (0.0, 1.0)

    def of(self, size: int) -> int:
        """The number of the byte, below `size`."""
        low, high = (int(size * bound) for bound in self.part)
        return min(low + int(self.share * (high - low)), max(size - 1, 0))


def places(parts: Sequence[tuple[float, float]] = ()) -> st.SearchStrategy[Place]:
    """Bytes of a file: each of the given parts, as shares of it, as often as the whole."""
    ends = ((0.0, 0.01), (0.99, 1.0), (0.0, 1.0), (0.0, 1.0))
    return st.builds(Place, st.floats(0, 1, exclude_max=True), st.sampled_from([*ends, *parts]))


def damages(parts: Sequence[tuple[float, float]] = ()) -> st.SearchStrategy[Damage]:
    """One damage of a file's bytes; in half of all cases a flipped bit."""
    place = places(parts)
    flips = st.builds(_flip, place, st.integers(0, 7))
    others = [
        st.builds(_overwrite, place, st.binary(min_size=1, max_size=9)),
        st.builds(_insert, place, st.binary(min_size=1, max_size=9)),
        st.builds(_cut, place),
        st.builds(_drop, place, st.integers(1, 64)),
        st.builds(_zero, place, st.integers(1, 64)),
        st.builds(_exchange, place, place),
        st.builds(lambda tail: lambda content: content + tail, st.binary(min_size=1, max_size=40)),
        st.builds(lambda whole: lambda _: whole, st.one_of(st.just(b""), st.binary(max_size=60))),
    ]
    return st.one_of(*[flips] * len(others), *others)


def _flip(place: Place, bit: int) -> Damage:
    return lambda content: flip_at(place.of(len(content)), bit)(content)


def flip_at(position: int, bit: int) -> Damage:
    """One bit of one byte flipped; an empty file stays as it is."""
    return lambda content: (
        content[:position]
        + bytes(mark ^ (1 << bit) for mark in content[position : position + 1])
        + content[position + 1 :]
    )


def _overwrite(place: Place, piece: bytes) -> Damage:
    def damage(content: bytes) -> bytes:
        position = place.of(len(content))
        return content[:position] + piece + content[position + len(piece) :]

    return damage


def _insert(place: Place, piece: bytes) -> Damage:
    def damage(content: bytes) -> bytes:
        position = place.of(len(content))
        return content[:position] + piece + content[position:]

    return damage


def _cut(place: Place) -> Damage:
    return lambda content: content[: place.of(len(content))]


def _drop(place: Place, count: int) -> Damage:
    def damage(content: bytes) -> bytes:
        position = place.of(len(content))
        return content[:position] + content[position + count :]

    return damage


def _zero(place: Place, count: int) -> Damage:
    def damage(content: bytes) -> bytes:
        position = place.of(len(content))
        return content[:position] + bytes(min(count, len(content) - position)) + content[position + count :]

    return damage


def _exchange(first: Place, second: Place, count: int = 16) -> Damage:
    """Two pieces of the file in each other's place."""

    def damage(content: bytes) -> bytes:
        low, high = sorted((first.of(len(content)), second.of(len(content))))
        pieces = content[low : low + count], content[high : high + count]
        if low + count > high or len(pieces[1]) < count:
            return content
        return content[:low] + pieces[1] + content[low + count : high] + pieces[0] + content[high + count :]

    return damage


def safetensors_parts(content: bytes) -> list[tuple[float, float]]:
    """The length, the header and the data of a safetensors file, as shares of it."""
    data = 8 + int.from_bytes(content[:8], "little")
    bounds = [0, 8, data, data + (len(content) - data) // 2, len(content)]
    return [(low / len(content), high / len(content)) for low, high in pairwise(bounds)]


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
