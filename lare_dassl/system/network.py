"""A short probe of the network."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 6.0


def reachable(url: str) -> bool:
    """True where a server answers within a few seconds; a name look-up that hangs stays behind in its thread."""
    answered = threading.Event()

    def probe() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_SECONDS).close()
        except urllib.error.HTTPError:
            pass
        except (OSError, http.client.HTTPException):
            return
        answered.set()

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    return answered.is_set()
