"""A preprocessing that ends, or holds up, the process that is to do it; processes of other programs can import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEADLY, ENDLESS = (1, 1), (1, 2)


@dataclass
class OddResize:
    """As `resize`, but in another process than that of `home` an image of size DEADLY or ENDLESS is what that says."""

    resize: Callable[[Any], Any]
    home: int = field(default_factory=os.getpid)

    def __call__(self, image: Any) -> Any:
        if os.getpid() != self.home and image.size == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.getpid() != self.home and image.size == ENDLESS:
            time.sleep(600)
        return self.resize(image)
