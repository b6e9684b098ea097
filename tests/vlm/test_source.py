from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lare_dassl.vlm import source


def test_the_fingerprint_changes_with_each_of_its_parts_alone(clip, monkeypatch):
    base = clip.fingerprint("0" * 64, "fp32")
    assert len(base) == 64
    others = [
        clip.fingerprint("1" * 64, "fp32"),
        clip.fingerprint("0" * 64, "bf16"),
        replace(clip, architecture=clip.architecture | {"embed_dim": 64}).fingerprint("0" * 64, "fp32"),
        replace(clip, preprocess={"mean": [0.0, 0.0, 0.0]}).fingerprint("0" * 64, "fp32"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(source, "READING", source.READING + 1)
        others.append(clip.fingerprint("0" * 64, "fp32"))
    assert len({base, *others}) == 6
    moved = replace(clip, model="m", open_clip_name="n", pretrained="p", weights=Path("elsewhere"))
    assert moved.fingerprint("0" * 64, "fp32") == base
