"""Whether there is a network, found out within seconds."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 6.0


def reachable(url: str) -> bool:
    """Whether a server answers within a few seconds; name look-ups that hang are left behind in their thread."""
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
