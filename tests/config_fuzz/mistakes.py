"""Strategies for configurations: right and wrong values of every key, as YAML and as words of a command line."""

from __future__ import annotations

import math
from typing import Any

import yaml
from hypothesis import strategies as st

from lare_dassl.config import merging
from lare_dassl.config.keys import KEYS as ROWS
from lare_dassl.trainers.base.description import described

KEYS = {key: value for key, value in merging.leaf_keys(merging.new_config()) if key not in merging.MAPPINGS}
TRAINERS = [method.name for method in described()]
NUMBERS = (
    *(0, -1, 1, 2, -2, 255, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63, 10**30, 10**400, 0.0, -0.0, 0.5, 1.0, 1.5, -0.1),
    *(5e-324, 1e-30, 1e30, 1e38, 1e39, 1e308, math.inf, -math.inf, math.nan),
)
TEXTS = (
    *("", " ", "nan", "inf", "-inf", "1e400", "0x10", "010", "1:30", "2020-13-45", "None", "null", "~", "~nobody/x"),
    *("a" * 300, "a/" * 3000, "a\nb", "a\tb", "\x00", "\x1b[2J", "\ud800", "\udc80", "é", "{}", "[]", "[[1]]", "(1,"),
    *("[1, [2]]", "[a, a]", "{a: 1}", "&a [*a]", "!!python/object:os.system x", "photo", "sketch", "text", "val"),
    *("(" * 300, "[" * 300, "1" * 5000, "__import__('os')", "../..", "/dev/null", "/", "local-dir:", "hf-hub:a/b"),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.integers(),
    st.floats(),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _near_numbers(key: str, default: Any) -> list[Any]:
    """The ends of a key's range and what lies beside them."""
    allowed = ROWS[key].allowed
    ends = [end for end in (allowed.least, allowed.most, default) if math.isfinite(end)]
    beside = [end + step for end in ends for step in (-1, 0, 1)]
    return [int(one) if isinstance(default, int) else float(one) for one in beside]


def right_values(key: str) -> st.SearchStrategy[Any]:
    """Values of a key's type, in its range or at its ends."""
    default = KEYS[key]
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int | float):
        return st.sampled_from(_near_numbers(key, default))
    if isinstance(default, str):
        return st.sampled_from([default, *ROWS[key].allowed.choices, *TEXTS[:3]])
    return st.lists(st.sampled_from([*default, 1, 0.5, "photo", "a {}"]), max_size=3)


def _misspelt(key: str) -> st.SearchStrategy[str]:
    places = st.integers(0, len(key) - 1)
    return st.one_of(
        places.map(lambda place: key[:place] + key[place + 1 :]),
        places.map(lambda place: f"{key[:place]}X{key[place:]}"),
        st.sampled_from([key.lower(), key.rpartition(".")[0] or key, f"{key}.X", f".{key}", f"{key}."]),
        st.text(max_size=12),
        st.sampled_from([*merging.MAPPINGS]).flatmap(lambda name: st.text(max_size=5).map(lambda end: f"{name}.{end}")),
    )


@st.composite
def settings_of_keys(draw: st.DrawFn) -> tuple[str, Any]:
    """A key and a value, either of which may be wrong."""
    key = draw(st.sampled_from(sorted(KEYS)))
    value = draw(right_values(key) | right_values(key) | trees)
    return (draw(_misspelt(key)) if draw(st.integers(0, 7)) == 0 else key), value


def nested(settings: list[tuple[str, Any]]) -> dict[str, Any]:
    """Settings as the sections of a YAML file; where one is in the way of another it stands by its dotted name."""
    content: dict[str, Any] = {}
    for key, value in settings:
        *sections, name = key.split(".")
        place: Any = content
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[name] = value
        else:
            content[key] = value
    return content


def as_yaml(content: Any) -> str:
    """YAML that says so; half characters are escaped."""
    return yaml.safe_dump(content, allow_unicode=False, sort_keys=False)


files = st.lists(settings_of_keys(), max_size=4).map(nested).map(as_yaml).map(str.encode)
odd_files = st.one_of(
    st.binary(max_size=80),
    st.text(alphabet="{}[]:-,&*!#|>'\"%@`?<=~ \n\tabTRAINER.012", max_size=80).map(str.encode),
    trees.map(as_yaml).map(str.encode),
    st.tuples(files, st.integers(0, 200), st.sampled_from([b"\xff", b"\t", b"&a ", b"*a", b"\x00", b"- ", b": "])).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)


def as_word(value: Any) -> str:
    """A value as a user may write it on a command line, which holds no null character."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, tuple | list) else one_line(value)
    return text.replace("\x00", "")


def one_line(value: Any) -> str:
    """A value as one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """`KEY VALUE KEY VALUE ...`, at times with a word too few."""
    pairs = draw(st.lists(settings_of_keys(), max_size=4))
    words = [word for key, value in pairs for word in (as_word(key), as_word(value))]
    return words[:-1] if words and draw(st.integers(0, 19)) == 0 else words
