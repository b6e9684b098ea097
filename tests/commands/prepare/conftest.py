from __future__ import annotations

import pytest

from lare_dassl.commands.prepare import download
from tests.commands.prepare.serving import serving


@pytest.fixture
def site(monkeypatch):
    """A server of this machine, asked again at once where it fails."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    with serving() as site:
        yield site
