"""Texts from data, such as names of classes and files, made safe to show: nothing in them steers a terminal."""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    """A text in one line without anything that steers: such characters are written as in a Python string."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def printable_lines(text: str) -> str:
    """The same of each line."""
    return "\n".join(map(printable, text.split("\n")))


def all_printable(content: Any) -> Any:
    """The same of each text in dictionaries, lists and tuples."""
    if isinstance(content, dict):
        return {all_printable(key): all_printable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(all_printable, content))
    return printable(content) if isinstance(content, str) else content
