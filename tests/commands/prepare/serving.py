"""A web server of this machine that can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """The files that the server gives, its misbehaviour, and what it was asked.

    Attributes:
        files: content of each file by its path, such as "/a.zip".
        ranges: whether it answers a Range with a part.
        kind: Content-Type of every file; "" sends none.
        break_after: lengths of the answers that break off, one each, before whole ones are given.
        stall_after: lengths of the answers that stop there until `go_on` is set.
        statuses: status codes that are answered first, one each.
        asked: path and Range header ("" for none) of each GET.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    kind: str = ""
    tells_length: bool = True
    break_after: list[int] = field(default_factory=list)
    stall_after: list[int] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            site.asked.append((self.path, asked))
            if site.statuses or self.path not in site.files:
                self.send_error(site.statuses.pop(0) if site.statuses else 404)
                return
            content = site.files[self.path]
            start = int(asked.strip("bytes=-") or 0) if site.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if site.kind:
                self.send_header("Content-Type", site.kind)
            if site.tells_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            if site.stall_after:
                self.wfile.write(rest[: site.stall_after.pop(0)])
                site.go_on.wait()
                return
            self.wfile.write(rest[: site.break_after.pop(0)] if site.break_after else rest)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Site]:
    """Run a server in a thread."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
