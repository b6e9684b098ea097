"""Texts from data, such as names of classes and files, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text without anything that steers a terminal: such characters are written as in a Python string."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
