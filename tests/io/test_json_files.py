from __future__ import annotations

import json
import re

import pytest

from lare_dassl.io.json_files import MAX_DEPTH, opened, parse_json, read_json, sealed

CONTENT = {"a": [1, 2.5, None, True], "b": {"c": "é", "d": (1, 2)}, "e": 0.1 + 0.2, 3: "three"}
CONTENT |= {"f": float("nan"), "g": [float("inf"), -float("inf")]}


def test_a_content_comes_back_from_its_text_and_its_checksum_fits():
    """Numbers that JSON does not know become texts; the order and the spaces of a text say nothing."""
    expected = {"a": [1, 2.5, None, True], "b": {"c": "é", "d": [1, 2]}, "e": 0.1 + 0.2, "3": "three"}
    expected |= {"f": "nan", "g": ["inf", "-inf"]}
    content = sealed(CONTENT)
    for text in (json.dumps(content), json.dumps(dict(reversed(content.items())), indent=3)):
        assert opened(parse_json(text)) == expected


@pytest.mark.parametrize("change", [{"a": [1]}, {"e": 0.3}, {"f": 1}, {"sha256": "0"}, {"sha256": None}, {"3": 3}])
def test_another_content_does_not_fit(change):
    with pytest.raises(ValueError, match="it is damaged: its content does not match its sha256"):
        opened(sealed(CONTENT) | change)


def test_a_checksum_may_be_missing_unless_it_is_required():
    assert opened({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="does not match its sha256"):
        opened({"a": 1}, required=True)
    with pytest.raises(ValueError, match="it is no JSON object"):
        opened([1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("NaN", "NaN is no number of JSON"),
        ("[1, -Infinity]", "-Infinity is no number of JSON"),
        ("[1e400]", "1e400 is too large a number"),
        ('{"a": {"b": 1, "b": 1}}', "'b' is in it twice"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "it is nested too deeply"),
        ('{"a":' * 1_000_000 + "1" + "}" * 1_000_000, "it is nested too deeply"),
        ("1" * 5_000, "Exceeds the limit"),
    ],
)
def test_what_is_no_plain_content_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_json(text)


def test_depth_below_the_limit_and_large_whole_numbers_are_taken():
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(text)) == text
    assert parse_json("[" + "9" * 400 + "]") == [int("9" * 400)]


def test_a_folder_is_no_file_and_a_missing_one_is_missing(tmp_path):
    with pytest.raises(ValueError, match="it is no file"):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere")
