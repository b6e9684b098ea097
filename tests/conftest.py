from __future__ import annotations

import pytest


@pytest.fixture
def write(tmp_path):
    """`write(content)` gives a YAML file with that content, text or bytes."""

    def written(content):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written
