"""What the fuzz of configurations shares: how much of it is wanted, and a count of what came of it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lare_dassl import vlm
from lare_dassl.system import network
from tests.helpers import make_domain_tree, shifted_embeddings, write_embeddings, write_tiny_model

# LARE_DASSL_FUZZ=100 tries a hundred times as many cases, and others each time; without it they are the same each time.
TIMES = int(os.environ.get("LARE_DASSL_FUZZ", "1"))
OUTCOMES: Counter[tuple[str, str]] = Counter()


def examples(number: int) -> settings:
    """Hypothesis's settings for a test that tries so many cases in `make test`."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    fixed = settings(deadline=None, database=None, derandomize=TIMES == 1, suppress_health_check=checks)
    return settings(fixed, max_examples=number * TIMES)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small embedding file, a tree of images, and a tiny model."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_embeddings(folder / "data.safetensors", shifted_embeddings(described=("photo", "painting")))
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog"], per_class=10)
    write_tiny_model(folder / "model")
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, on a machine without network and without weights in any cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LARE_DASSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(network, "reachable", lambda url: False)
    monkeypatch.setattr(vlm.weights, "try_to_load_from_cache", lambda *_, **__: None)
    return world


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many cases ended how."""
    for (kind, outcome), number in sorted(OUTCOMES.items()):
        terminalreporter.write_line(f"config fuzz: {kind}: {outcome}: {number:,}")
