from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lare_dassl import vlm

CPU = torch.device("cpu")


@pytest.mark.parametrize(("noise", "agrees"), [(0.0, True), (0.02, True), (0.5, False)])
def test_low_precision_is_taken_only_where_embeddings_agree(clip, pixels, noise, agrees):
    model = vlm.load(clip, "fp32", CPU)

    def encode(batch):
        rows = model.encode_images(batch)
        return F.normalize(rows + noise * F.normalize(torch.ones_like(rows), dim=-1), dim=-1)

    noisy = SimpleNamespace(encode_images=encode, device=CPU, precision="bf16")
    assert vlm.low_precision_agrees(noisy, clip, pixels) is agrees


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_it_is_native(monkeypatch, native):
    # torch has no public function that says so; where this private one goes, another is to be found.
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert vlm.resolve_precision("auto", CPU) == ("bf16" if native else "fp32")
    assert vlm.resolve_precision("auto", torch.device("mps")) == "fp32"
    for precision in ("fp32", "bf16", "fp16"):
        assert vlm.resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize(
    ("use_cuda", "cuda", "mps", "device"),
    [(True, True, False, "cuda"), (True, False, True, "mps"), (True, False, False, "cpu"), (False, True, True, "cpu")],
)
def test_the_best_device_is_taken_unless_refused(monkeypatch, use_cuda, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert vlm.available_device.__wrapped__(use_cuda).type == device
