"""Says at the end of a test run on which host the contract tests ran."""

from __future__ import annotations

from lare_dassl.host.door import HOST, HOST_VERSION


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"contract tests ran on host: {HOST} ({HOST_VERSION})")
