from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from lare_dassl.errors import InputError
from lare_dassl.io.yaml_files import MOST_BYTES, parse_yaml, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("true", True),
        ("no", False),
        ("~", None),
        # What YAML 1.1 takes for 8, 90 and a date is what it says.
        ("010", "010"),
        ("1:30", "1:30"),
        ("2020-01-31", "2020-01-31"),
        ("[a, 1, [2.0]]", ["a", 1, [2.0]]),
        ("&a x", "x"),
        ("", None),
    ],
)
def test_values_are_what_they_look_like(text, value):
    read = parse_yaml(text, "here")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbfA: 1\r\n", {"A": 1}),
        (b"A: 1", {"A": 1}),
        (b"---\nA: 1\n...\n", {"A": 1}),
        (b"a: &a {B: 0.1, C: x}\nd: {<<: *a, C: y}\n", {"a": {"B": 0.1, "C": "x"}, "d": {"B": 0.1, "C": "y"}}),
    ],
)
def test_aliases_are_taken_and_line_ends_say_nothing(write, content, value):
    assert read_yaml(write(content)) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A: 1\nB: 2\nA: 3\n", "{path}, line 3: 'A' is given twice, before in line 1"),
        ("A:\n  B: 1\n  C: 2\n  B: 1\n", "{path}, line 4: 'B' is given twice, before in line 2"),
        (
            "A: !!python/object/apply:os.system ['touch x']\n",
            "{path}, line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is refused",
        ),
        ("A: !mine 3\n", "{path}, line 1: the tag '!mine' is refused: a config holds plain values"),
        ("A: !!binary aGk=\n", "{path}, line 1: the tag 'tag:yaml.org,2002:binary' is refused"),
        (BOMB, "{path} holds more than 50,000 values, aliases written out: shorten it"),
        ("A: &a [*a]\n", "{path} holds more than 50,000 values"),
        ("A: " + "[" * 2000, "{path} is not valid YAML: it is nested too deeply"),
        ("no: 1\n", "{path}, line 1: a key is a name, not 'no': put it in quotes if it is one"),
        ("? [a, b]\n: 1\n", "{path}, line 1: a key is a name, not a list or keys and values"),
        ("A:\n\tB: 1\n", "{path} is not valid YAML: while scanning for the next token found character '\\t'"),
        ("A: 1\n---\nA: 2\n", "{path} is not valid YAML: expected a single document"),
        ("A: !!int many\n", "{path} is not valid YAML: "),
        ("A: " + "1" * 5000, "{path} is not valid YAML: Exceeds the limit"),
        (b"A: \xe4\n", "{path} is not valid YAML: invalid continuation byte of UTF-8 at byte 3"),
        ("A: é\n".encode("utf-16"), "{path} is not valid YAML: invalid start byte of UTF-8 at byte 0"),
        (b"A: \x00\n", "{path} is not valid YAML: unacceptable character #x0000"),
        (b"[1]", "{path} must hold keys and values, not a list"),
        (b"#" * (MOST_BYTES + 1), "{path} has 1,000,001 bytes: a config file has at most 1,000,000"),
    ],
)
def test_what_is_no_plain_data_is_refused_in_one_line(write, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = write(content)
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert str(error.value).startswith(message.format(path=path))
    assert "\n" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["my.yaml"]


def test_what_is_no_plain_file_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "config.py").write_text("raise SystemExit")
    (tmp_path / "closed.yaml").touch()
    with (tmp_path / "large.yaml").open("wb") as sparse:
        sparse.truncate(100_000_000)
    monkeypatch.setattr(Path, "read_text", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    too_long = "a config file must have at most 4096 bytes, and 255 between two slashes"
    for name, message in {
        "pipe.yaml": "no config file {}: it is no plain file",
        "folder.yaml": "no config file {}: it is no plain file",
        "config.py": "{} is a program: a config file is data, write it as YAML",
        "large.yaml": "{} has 100,000,000 bytes: a config file has at most 1,000,000",
        "closed.yaml": "cannot read config file {}: Permission denied",
        "no.yaml": "no config file {}",
        "a" * 300: too_long,
        "a\0b": "a config file must be text without null",
    }.items():
        with pytest.raises(InputError) as error:
            read_yaml(tmp_path / name)
        assert str(error.value).startswith(message.format(tmp_path / name))
