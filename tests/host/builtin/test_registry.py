from __future__ import annotations

import pytest

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.registry import Registry


class Alpha:
    pass


def test_find_names_the_nearest():
    registry = Registry("TRAINER")
    registry.register(Alpha)
    assert registry.find("Alpha") is Alpha
    with pytest.raises(InputError, match="unknown trainer 'alhpa': did you mean 'Alpha'"):
        registry.find("alhpa")
