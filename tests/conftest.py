from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_threads():
    """Tools set the number of torch's threads for their process; the next test starts from its own."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write(tmp_path):
    """`write(content)` gives a YAML file with that content, text or bytes."""

    def written(content):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written
