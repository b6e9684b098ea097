"""The source and target domains of a run, chosen and checked in the same way for all our datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lare_dassl.errors import InputError, unknown_name


def chosen_domains(
    cfg: Any, known: Sequence[str], default_source: Sequence[str] = (), default_target: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """The source and target domains that the config names, checked.

    The default targets hold only where the config names neither sources nor targets: sources alone ask for no
    out-of-domain test.

    Args:
        cfg: the config; DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS are read.
        known: names of all domains of the dataset.
        default_source: sources where the config names none.
        default_target: targets where the config names no domain at all.

    Raises:
        InputError: see `check_domains`.
    """
    source, target = list(cfg.DATASET.SOURCE_DOMAINS), list(cfg.DATASET.TARGET_DOMAINS)
    if not source and not target:
        target = list(default_target)
    source = source or list(default_source)
    check_domains(source, target, known)
    return source, target


def check_domains(source: Sequence[str], target: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a choice of domains that cannot be run. Targets may be empty: then there is only an in-domain test.

    Raises:
        InputError: no source, a name that is not known, a name given twice, or a domain both source and target.
    """
    if not source:
        raise InputError(
            "no source domain: name at least one with --source-domains (DATASET.SOURCE_DOMAINS); "
            f"known: {', '.join(known)}"
        )
    _check_names("source domain (--source-domains)", source, known)
    _check_names("target domain (--target-domains)", target, known)
    for name in source:
        if name in target:
            raise InputError(
                f"domain '{name}' is both source and target: take it out of --source-domains "
                "(DATASET.SOURCE_DOMAINS) or of --target-domains (DATASET.TARGET_DOMAINS)"
            )


def _check_names(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name not in known:
            raise unknown_name(kind, name, known)
        if name in names[:place]:
            raise InputError(f"{kind} '{name}' is given twice: name it once")
