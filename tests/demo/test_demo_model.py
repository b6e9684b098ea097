"""The model that ships with the package: it is the one that its card describes, and it sees what it should."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lare_dassl import vlm
from lare_dassl.datasets.demo_world import SCENES
from lare_dassl.demo.rendering import COLOURS, SHAPES, render

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return vlm.load(vlm.resolve("demo", ""), "fp32", CPU)


def test_the_card_names_the_weights_that_ship():
    (weights,) = vlm.DEMO_FOLDER.glob("*.safetensors")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert f"`{digest}`" in (ROOT / "docs" / "demo_vlm.md").read_text(encoding="utf-8")


def test_it_is_small():
    assert sum(path.stat().st_size for path in vlm.DEMO_FOLDER.iterdir()) < 10e6


def test_it_names_most_unseen_photos(model):
    rng = np.random.default_rng(3)
    pictures = [Image.fromarray(render(*scene, "photo", rng)) for scene in SCENES.values()]
    images = model.encode_images(torch.stack([model.preprocess(picture) for picture in pictures]))
    templates = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"))["VLM"]["TEMPLATES"]
    texts = sum(model.encode_texts([template.format(name) for name in SCENES]) for template in templates)
    correct = (images @ texts.T).argmax(dim=1) == torch.arange(len(SCENES))
    # Chance is 1 in 120; the card says 70 %.
    assert correct.float().mean() > 0.6


def test_every_word_of_the_classes_is_one_token(model):
    for word in [*SHAPES, *COLOURS]:
        # Start, word, end.
        assert (model.tokenizer([word]) != 0).sum() == 3


def test_it_works_wherever_it_lies(model, tmp_path):
    shutil.copytree(vlm.DEMO_FOLDER, tmp_path / "moved")
    moved = vlm.load(vlm.resolve(f"local-dir:{tmp_path}/moved", ""), "fp32", CPU)
    assert torch.equal(moved.encode_texts(["a red star"]), model.encode_texts(["a red star"]))
    assert moved.logit_scale == pytest.approx(20.0, abs=0.05)
