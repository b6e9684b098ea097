"""The command-line flag `--help NAME`: all that is known of a key of the configuration, or of a method."""

from __future__ import annotations

from collections.abc import Sequence

from lare_dassl.config import keys
from lare_dassl.config.assembly import load_plugins
from lare_dassl.config.merging import new_config
from lare_dassl.errors import unknown_name
from lare_dassl.trainers.base import description
from lare_dassl.trainers.base.description import described, description_of


def help_of(name: str, plugins: Sequence[str] = ()) -> str:
    """The help of a key or a method, as lines of text.

    Args:
        name: of the key or the method.
        plugins: modules to import first, so that their methods are known.

    >>> help_of("SEED").partition(":")[0]
    'SEED'

    Raises:
        InputError: there is neither (names the nearest one), or a plugin cannot be imported.
    """
    load_plugins(plugins, new_config())
    if description_of(name):
        return description.help_of(name)
    if keys.row_of(name):
        return keys.help_of(name)
    raise unknown_name("key or method", name, [*keys.KEYS, *(method.name for method in described())])
