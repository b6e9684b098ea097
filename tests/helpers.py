"""Helpers of several tests: small images, trees of them, and configs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lare_dassl import EmbeddingSet, LabelledEmbeddings, VLMIdentity, write_embedding_file
from lare_dassl.commands.train import train
from lare_dassl.config import merging
from lare_dassl.config.request import BenchmarkRequest, ExtractRequest, RunRequest, request_of
from lare_dassl.errors import exit_code
from lare_dassl.host.door import DATASET_REGISTRY, EVALUATOR_REGISTRY, TRAINER_REGISTRY
from tools import benchmark, extract
from tools import train as train_tool

CLASSNAMES = ("cat", "dog", "heron", "owl", "wren")


def write_image(path: Path, seed: int) -> Path:
    """Write a 16 x 16 image of noise; the suffix of the path says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def flip_bit(content: bytes) -> bytes:
    """The content with one bit changed, near its end."""
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def damage_unseen(path: Path) -> None:
    """Flip a bit of a file, as a failing disk does: neither size nor mtime change."""
    stat = path.stat()
    path.write_bytes(flip_bit(path.read_bytes()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def make_domain_tree(root: Path, domains: Sequence[str], classes: Sequence[str], per_class: int) -> Path:
    """Write images <root>/<domain>/<class>/<number>.png, `per_class` in each class folder."""
    folders = [root / domain / name for domain in domains for name in classes]
    for place, folder in enumerate(folders):
        for number in range(per_class):
            write_image(folder / f"{number}.png", seed=place * per_class + number)
    return root


def make_cfg(**keys: Any) -> Any:
    """The default config with some keys set: `make_cfg(DATASET__ROOT="x")` sets DATASET.ROOT."""
    cfg = merging.new_config()
    for key, value in keys.items():
        merging.merge_key(cfg, key.replace("__", "."), str(value) if isinstance(value, Path) else value, where="test")
    return cfg


def forget_plugins(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Undo, at the end of a test, changes of the import path, what plugins register, and imports of these modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for registry in (TRAINER_REGISTRY, DATASET_REGISTRY, EVALUATOR_REGISTRY):
        for name, value in vars(registry).items():
            if isinstance(value, dict):
                monkeypatch.setattr(registry, name, dict(value))
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)


def write_tiny_model(folder: Path, coca: bool = False) -> str:
    """Write a model folder of a CLIP, or a CoCa, of width 32 for 32 x 32 images, without weights.

    Returns:
        Its MODEL.BACKBONE.NAME; with VLM.ALLOW_RANDOM True its weights are random, the same each time.
    """
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
    model: dict[str, Any] = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    if coca:
        text |= {"embed_cls": True, "output_tokens": True}
        vision |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
        decoder = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
        model |= {"multimodal_cfg": decoder | {"attn_pooler_heads": 2}, "custom_text": True}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    return f"local-dir:{folder}"


def shifted_embeddings(with_val: bool = True, described: Sequence[str] = ()) -> EmbeddingSet:
    """Five classes of width 16 in domains that each shift them: photo is the source, painting and sketch are targets.

    40 train, 20 val and 60 test rows (20 of each domain). `described` names domains whose descriptions shift the class
    texts as the domain shifts its images.
    """
    generator = torch.Generator().manual_seed(11)
    centres = F.normalize(torch.randn(5, 16, generator=generator), dim=-1)
    shifts = 0.8 * F.normalize(torch.randn(3, 16, generator=generator), dim=-1)

    def rows(domains: list[int], per_class: int) -> LabelledEmbeddings:
        domain = torch.tensor(domains).repeat_interleave(5 * per_class)
        label = torch.arange(len(domain)) % 5
        noise = 0.25 * torch.randn(len(domain), 16, generator=generator)
        return LabelledEmbeddings(F.normalize(centres[label] + shifts[domain] + noise, dim=-1), label, domain)

    names = ("photo", "painting", "sketch")
    embeddings = EmbeddingSet(
        train=rows([0], 8),
        val=rows([0], 4) if with_val else None,
        test=rows([0, 1, 2], 4),
        class_text=F.normalize(centres + 0.1 * torch.randn(5, 16, generator=generator), dim=-1),
        classnames=CLASSNAMES,
        domain_names=names,
        source_domains=names[:1],
        target_domains=names[1:],
        vlm=VLMIdentity("ViT-B-32", "openai", "0123abcd", 16, 50.0, "bf16", "{}"),
    )
    if not described:
        return embeddings
    of_described = shifts[[names.index(name) for name in described]]
    domain_text = F.normalize(embeddings.class_text + of_described[:, None], dim=-1)
    return replace(embeddings, domain_text=domain_text, described_domains=tuple(described))


def write_embeddings(path: Path, embeddings: EmbeddingSet | None = None) -> Path:
    """Write an embedding file, of `shifted_embeddings` where none are given."""
    write_embedding_file(path, embeddings or shifted_embeddings())
    return path


def train_arguments(*words: object) -> RunRequest:
    """The request of the command line `tools/train.py WORDS...`."""
    return request_of(RunRequest, train_tool.read_flags([*map(str, words)]))


def benchmark_request(*words: object) -> BenchmarkRequest:
    """The request of the command line `tools/benchmark.py WORDS...`."""
    return request_of(BenchmarkRequest, benchmark.read_flags([*map(str, words)]))


def extract_request(*words: object) -> ExtractRequest:
    """The request of the command line `tools/extract.py WORDS...`."""
    return request_of(ExtractRequest, extract.read_flags([*map(str, words)]))


def run_train(*words: object) -> int:
    """`tools/train.py WORDS...` in this process; gives the exit code."""
    with kept_process():
        return exit_code(lambda: train(train_arguments(*words)))


def train_on_images(folder: Path) -> Path:
    """Train a FineTune on images of a cat, a dog and an owl, with a tiny model: <folder>/{images,model,cache,run}."""
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog", "owl"], per_class=10)
    backbone = write_tiny_model(folder / "model")
    done = run_train(
        *("--trainer", "FineTune", "--root", folder / "images", "--backbone", backbone, "--seed", 0),
        *("--source-domains", "photo", "--target-domains", "sketch", "--output-dir", folder / "run"),
        *("DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"),
        *("DATALOADER.NUM_WORKERS", 0, "EMBEDDINGS.CACHE_DIR", folder / "cache", "OPTIM.MAX_EPOCH", 20),
    )
    assert done == 0
    return folder


@contextmanager
def kept_process() -> Iterator[None]:
    """Undo what a tool changes for good: standard output, the import path, the handlers of the log."""
    root = logging.getLogger()
    streams, path, handlers, level = sys.stdout, list(sys.path), list(root.handlers), root.level
    try:
        yield
    finally:
        sys.stdout, sys.path[:], root.handlers[:] = streams, path, handlers
        root.setLevel(level)
