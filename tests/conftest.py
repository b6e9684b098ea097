from __future__ import annotations

from collections import defaultdict
from functools import partialmethod

import pytest
import torch
from tqdm import tqdm

from lare_dassl.host.door import HOST, HOST_VERSION


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """End a run with its host, and with the skipped tests by their reason."""
    terminalreporter.write_line(f"host: {HOST} ({HOST_VERSION})")
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"{len(skipped)} skipped")
        for line in skip_lines((report.nodeid, report.longrepr) for report in skipped):
            terminalreporter.write_line(line)


def skip_lines(skipped):
    """One line for each reason of skipping, from pairs of a test's id and (file, line, reason)."""
    files = defaultdict(list)
    for test, (_, _, reason) in skipped:
        files[reason.removeprefix("Skipped: ")].append(test.partition("::")[0])
    return [f"{len(names)} x {reason}: {', '.join(sorted(set(names)))}" for reason, names in sorted(files.items())]


@pytest.fixture(autouse=True)
def _same_threads():
    """Tools set the number of torch's threads for their process; the next test starts from its own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def progress_bars(monkeypatch):
    """Progress bars are shown, whatever the environment says of them (TQDM_DISABLE)."""
    monkeypatch.setattr(tqdm, "__init__", partialmethod(tqdm.__init__, disable=False))


@pytest.fixture
def write(tmp_path):
    """`write(content)` gives a YAML file with that content, text or bytes."""

    def written(content):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written
