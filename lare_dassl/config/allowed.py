"""Checks of flags by the ranges that keys have."""

from __future__ import annotations

from lare_dassl.errors import InputError
from lare_dassl.methods.shared.settings import AT_LEAST_1, Allowed

__all__ = ["AT_LEAST_1", "Allowed", "check_flag"]


def check_flag(flag: str, value: float | None, allowed: Allowed) -> None:
    """Refuse a number of a command line; None, for a flag that is not given, passes.

    Raises:
        InputError: names the flag, its value, and what is allowed.
    """
    fault = "" if value is None else allowed.fault(value)
    if fault:
        raise InputError(f"{flag} {fault}")
