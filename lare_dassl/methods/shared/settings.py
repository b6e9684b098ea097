"""Settings of methods: the default, the range and the meaning of each setting stand together, once.

A settings class is a frozen dataclass of `setting` fields. It checks itself, with or without Dassl, and the table of
keys (config/keys.py) takes its rows from it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lare_dassl.errors import InputError, shown
from lare_dassl.io.files import LONGEST_NAME, fault_of_path, fault_of_words

# A message gives both ends of a range that is no wider.
NARROW = 100
LARGEST_WHOLE = 2**31 - 1


@dataclass(frozen=True)
class Allowed:
    """Range or choices of a setting; of a list, those of each entry.

    >>> Allowed(0, 1).fault(1.5)
    'must lie in [0, 1], not 1.5'

    Attributes:
        least: the least number.
        most: the greatest number.
        above: `least` itself is too low.
        below: `most` itself is too high.
        also: a number outside the range with a meaning of its own.
        choices: the only texts; empty for any text.
        empty: a list may be empty.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    also: int | None = None
    choices: tuple[str, ...] = ()
    empty: bool = True

    def fault(self, value: Any) -> str:
        """End of a sentence that says why a value of the right type is refused; "" where it is not."""
        if isinstance(value, list | tuple):
            return self._fault_of_list(value)
        if isinstance(value, str):
            return self._fault_of_text(value)
        return self._fault_of_number(value) if isinstance(value, int | float) else ""

    def in_words(self) -> str:
        """Range or choices as text, such as "in [0, 1]"; "" where any value of the type is taken."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.least == -math.inf:
            return "" if self.empty else "at least one entry"
        other = "" if self.also is None else f", or {self.also}"
        entries = "" if self.empty else ", at least one entry"
        return f"{self._from() if self.most == math.inf else self._interval()}{other}{entries}"

    def _from(self) -> str:
        return f"{'above' if self.above else 'at least'} {_plain(self.least)}"

    def _interval(self) -> str:
        first, last = "(" if self.above else "[", ")" if self.below else "]"
        return f"in {first}{_plain(self.least)}, {_plain(self.most)}{last}"

    def _fault_of_list(self, values: Sequence[Any]) -> str:
        if not values and not self.empty:
            return "must have at least one entry, not []"
        faults = (fault_of_words(one) if isinstance(one, str) else self._fault_of_number(one) for one in values)
        return next(filter(None, faults), "")

    def _fault_of_number(self, value: float) -> str:
        if isinstance(value, bool) or value == self.also:
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be a finite number, not {value}"
        low = value <= self.least if self.above else value < self.least
        high = value >= self.most if self.below else value > self.most
        if low or high:
            return f"must {self._range(low)}, not {shown(value)}"
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE and self.most == math.inf:
            return f"must be at most {LARGEST_WHOLE}, not {shown(value)}"
        return ""

    def _range(self, low: bool) -> str:
        """The range in words; of a wide one only the end that was passed."""
        other = "" if self.also is None else f", or {self.also}"
        if self.most - self.least <= NARROW:
            return f"lie {self._interval()}{other}"
        if low:
            return f"be {self._from()}{other}"
        return f"be {'below' if self.below else 'at most'} {_plain(self.most)}{other}"

    def _fault_of_text(self, text: str) -> str:
        if not self.choices:
            return fault_of_path(text)
        if text in self.choices:
            return ""
        near = difflib.get_close_matches(text.lower()[:LONGEST_NAME], self.choices, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        return f"must be one of {', '.join(self.choices)}, not {shown(text)}{hint}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


ANY = Allowed()
SHARE = Allowed(0, 1)
NOT_NEGATIVE = Allowed(0)
AT_LEAST_1 = Allowed(1)
# A step of the optimiser is a float32 number, and the product of rate and decay is one too.
RATE = Allowed(0, 1e18)
POSITIVE_RATE = Allowed(0, 1e18, above=True)
STRENGTH = Allowed(0, 1_000_000)
EPOCHS = Allowed(1, 1_000_000)
# Where 0 stands for as many epochs as a number of steps makes.
EPOCHS_OR_STEPS = Allowed(0, 1_000_000)
STEPS = Allowed(1, 1_000_000_000)
# Wider networks, and more samples of an image, are more likely a slip than a wish, and end in a lack of memory.
WIDTH = Allowed(1, 65_536)
SAMPLES = Allowed(0, 1000)
WORKERS = Allowed(0, 1024)


ADDED = "embeddings added for each real one in a batch"
LOGIT_SCALE = "inverse temperature of the class consistency losses; 0 takes the model's own"


def setting(default: Any, help: str, allowed: Allowed = ANY, *, key: str = "", unit: str = "") -> Any:
    """A field of a settings class.

    Args:
        default: value of a setting that is not given.
        help: one line on its meaning.
        allowed: range or choices.
        key: name of its key, where that is not the field's name in capitals. A name with a dot stands for the field in
            messages too.
        unit: of a number.
    """
    return field(default=default, metadata={"help": help, "allowed": allowed, "key": key, "unit": unit})


@dataclass(frozen=True)
class Settings:
    """Base of all settings classes; each field is made by `setting`.

    Raises:
        InputError: a value is out of its range.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            fault = one.metadata["allowed"].fault(getattr(self, one.name))
            key = one.metadata["key"]
            if fault:
                raise InputError(f"{key if '.' in key else one.name} {fault}")
