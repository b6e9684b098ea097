"""The command-line flag `--help NAME`: all that is known of a key of the configuration, or of a method."""

from __future__ import annotations

from lare_dassl.config import keys
from lare_dassl.errors import unknown_name
from lare_dassl.trainers.base.description import Description, described, description_of


def help_of(name: str) -> str:
    """The help of a key or a method, as lines of text.

    >>> help_of("SEED").partition(":")[0]
    'SEED'

    Raises:
        InputError: there is neither; names the nearest one.
    """
    method = description_of(name)
    if method:
        return _help_of_method(method)
    if keys.row_of(name):
        return keys.help_of(name)
    raise unknown_name("key or method", name, [*keys.KEYS, *(method.name for method in described())])


def _help_of_method(method: Description) -> str:
    facts = {
        "head": method.head,
        "augmentation": method.augmentation,
        "needs": ", ".join(method.needs),
        "ignores": ", ".join(method.ignores),
        "defaults": ", ".join(f"{key} {value}" for key, value in method.defaults.items()),
        "keys": ", ".join(f"{key} {value}" for key, value in method.keys().items()),
        "paper": method.paper,
    }
    lines = [f"  {title:<12}  {text}" for title, text in facts.items() if text]
    return "\n".join([f"{method.name}: {method.summary}", *lines])
