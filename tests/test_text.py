from __future__ import annotations

from lare_dassl.errors import all_printable, printable, printable_lines


def test_what_steers_a_terminal_is_written_out():
    assert printable("Schnauzer é 象 [x]") == "Schnauzer é 象 [x]"
    assert printable("a\tb\r\x9b\udcff\u202e") == "a\\tb\\r\\x9b\\udcff\\u202e"


def test_lines_stay_lines():
    assert printable_lines("a\x1b[31m\nb") == "a\\x1b[31m\nb"
    assert printable("a\nb") == "a\\nb"


def test_texts_are_found_wherever_they_are():
    content = {"a\x00": ["b\x1b", 3, None], "c": ("d\u202e", {"e": 0.5})}
    assert all_printable(content) == {"a\\x00": ["b\\x1b", 3, None], "c": ("d\\u202e", {"e": 0.5})}
