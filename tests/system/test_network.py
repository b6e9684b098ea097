from __future__ import annotations

import io
import threading
import urllib.error

import pytest

from lare_dassl.system import network


def test_a_probe_that_hangs_is_left_behind(monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(network, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: released.wait(30) and io.BytesIO())
    try:
        assert network.reachable("https://example.org/weights") is False
    finally:
        released.set()


@pytest.mark.parametrize(
    ("outcome", "reachable"),
    [
        (urllib.error.URLError("no route"), False),
        (TimeoutError(), False),
        (urllib.error.HTTPError("https://example.org", 404, "not found", None, None), True),
        (None, True),
    ],
)
def test_any_answer_of_a_server_is_network(monkeypatch, outcome, reachable):
    def urlopen(request, timeout):
        assert (request.full_url, request.get_method()) == ("https://example.org/weights", "HEAD")
        if outcome is not None:
            raise outcome
        return io.BytesIO()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    assert network.reachable("https://example.org/weights") is reachable
