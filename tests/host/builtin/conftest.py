"""The stand-in's configuration holds the table of keys, whichever host runs the tests."""

from __future__ import annotations

from lare_dassl.config.keys import extend
from lare_dassl.host.builtin.config import cfg_default

extend(cfg_default)
