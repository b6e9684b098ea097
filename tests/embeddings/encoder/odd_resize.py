"""A preprocessing that fails in processes that decode; these can import it, as they could not import a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEADLY, ENDLESS, BROKEN = (1, 1), (1, 2), (2, 1)


@dataclass
class OddResize:
    """As `resize`, but an image of one of these sizes fails as its name says in any process but `home`."""

    resize: Callable[[Any], Any]
    home: int = field(default_factory=os.getpid)

    def __call__(self, image: Any) -> Any:
        away = os.getpid() != self.home
        if away and image.size == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if away and image.size == ENDLESS:
            signal.pause()
        if away and image.size == BROKEN:
            raise RuntimeError("broken in a worker")
        return self.resize(image)
