"""Checks of a copy against the published dataset."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from lare_dassl.errors import InputError

logger = logging.getLogger(__name__)

SHOWN_NAMES = 5


def refuse_partial(cfg: Any, problem: str, remedy: str) -> None:
    """Refuse a copy that is not the published one; where DATASET.ALLOW_PARTIAL takes it, warn instead.

    Args:
        cfg: the config.
        problem: the difference, beginning with the file or folder.
        remedy: advice for the message; "" for none.

    Raises:
        InputError: DATASET.ALLOW_PARTIAL is off.
    """
    if cfg.DATASET.ALLOW_PARTIAL:
        logger.warning("%s: taken as it is (DATASET.ALLOW_PARTIAL)", problem)
        return
    message = f"{problem}: {remedy}" if remedy else problem
    raise InputError(f"{message}; DATASET.ALLOW_PARTIAL True takes it as it is")


def check_count(cfg: Any, where: Path, what: str, found: int, expected: int, *, remedy: str) -> None:
    """Refuse a number of items that is not the published one, see `refuse_partial`."""
    if found != expected:
        refuse_partial(cfg, f"'{where}' has {found:,} {what}, expected {expected:,}", remedy)


def check_tested(tested: Collection[str], domains: Sequence[str], remedy: str) -> None:
    """Refuse a copy that leaves one of the chosen domains without test images: nothing could be measured on it.

    Raises:
        InputError: names the domains that are not among those tested.
    """
    lacking = [name for name in domains if name not in tested]
    if lacking:
        raise InputError(f"domain {shown_names([repr(name) for name in lacking])} has no test image: {remedy}")


def check_no_repeat(file: Path, lines: Iterable[tuple[int, str]], remedy: str) -> None:
    """Refuse a list that names one image twice; `lines` are numbers from 1 with the paths that they name.

    Raises:
        InputError: names the path and both lines.
    """
    line_of: dict[str, int] = {}
    for line, path in lines:
        if path in line_of:
            raise InputError(f"'{file}' names '{path}' twice, in lines {line_of[path]} and {line}: {remedy}")
        line_of[path] = line


def shown_names(names: Sequence[str]) -> str:
    """The first few names, and how many more there are; "none" for an empty list."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(names[:SHOWN_NAMES]) or "none") + more
