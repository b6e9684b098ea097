"""Tables from names to classes, filled by decorators."""

from __future__ import annotations

from functools import partial
from typing import Any

from lare_dassl.errors import unknown_name


class Registry:
    """A table from a class's or function's own name to itself.

    Args:
        name: kind of the entries, for messages ("TRAINER").
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._items: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """Add a class or function: `@registry.register()` above it, or `registry.register(it)`.

        Args:
            obj: class or function to add; None where the call is used as a decorator.
            force: replace an entry of the same name.

        Raises:
            KeyError: the name is taken and `force` is false.
        """
        if obj is None:
            return partial(self.register, force=force)
        name = obj.__name__
        if name in self._items and not force:
            raise KeyError(f"the {self._name} registry already has a '{name}'")
        self._items[name] = obj
        return obj

    def get(self, name: str) -> Any:
        """The object of that name.

        Raises:
            KeyError: no object has that name.
        """
        if name not in self._items:
            raise KeyError(f"the {self._name} registry has no '{name}'")
        return self._items[name]

    def find(self, name: str) -> Any:
        """The object of a name that the user gave.

        Raises:
            InputError: no object has that name; the message gives the nearest one.
        """
        if name not in self._items:
            raise unknown_name(self._name.lower(), name, self._items)
        return self._items[name]

    def registered_names(self) -> list[str]:
        """All names, in the order in which they were added."""
        return list(self._items)
