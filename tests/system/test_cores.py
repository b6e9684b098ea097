from __future__ import annotations

import os

import pytest
import torch

from lare_dassl.system import cores


@pytest.fixture
def quota(tmp_path, monkeypatch):
    """`quota(text)` is what the container says of its quota, on a machine of eight cores."""
    file = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "CGROUP_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return file.write_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, 8), ("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), ("9900000 100000", 8), ("nonsense", 8)],
)
def test_a_containers_quota_limits_the_cores(quota, text, expected):
    """Without one, there are as many as the process may run on."""
    if text is not None:
        quota(text)
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(("before", "asked", "expected"), [(4, 0, 2), (1, 0, 1), (1, 3, 3), (3, 0, 3)])
def test_torch_gets_at_most_a_thread_a_core_unless_more_are_asked(quota, monkeypatch, before, asked, expected):
    quota("200000 100000")
    monkeypatch.setattr(cores, "BY_ITSELF", 4)
    torch.set_num_threads(before)
    cores.use_threads(asked)
    assert torch.get_num_threads() == expected
