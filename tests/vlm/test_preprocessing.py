from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.vlm import open_clip
from tests.helpers import write_tiny_model

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def test_preprocessing_is_open_clips_own_to_the_bit(tmp_path, picture):
    name, path = write_tiny_model(tmp_path), tmp_path / "open_clip_config.json"
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bicubic"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"preprocess_cfg": preprocess}))
    ours = vlm.load(vlm.resolve(name, "", allow_random=True), "fp32", torch.device("cpu")).preprocess(picture)
    _, _, transform = open_clip.create_model_and_transforms(name, load_weights=False)
    assert torch.equal(ours, transform(picture))
    assert ours.shape == (3, 32, 32)
    # The mean and std of the folder were used: undoing them gives values of an image.
    mean, std = (torch.tensor(preprocess[key])[:, None, None] for key in ("mean", "std"))
    levels = (ours * std + mean) * 255
    torch.testing.assert_close(levels, levels.round().clamp(0, 255), atol=1e-3, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(70, 41), (32, 32), (20, 300)])
def test_the_two_parts_of_preprocessing_give_the_same_bits(clip, size, device):
    model = vlm.load(clip, "fp32", torch.device(device))
    pixels = torch.randint(256, (6, size[1], size[0], 3), generator=torch.Generator().manual_seed(0)).byte()
    images = [Image.fromarray(part.numpy()) for part in pixels]
    resized = torch.stack([model.parts.resize(image) for image in images])
    assert resized.dtype == torch.uint8 and resized.shape[-1] == 3
    whole = torch.stack([model.preprocess(image) for image in images])
    scaled = model.parts.scale(resized.to(device))
    assert scaled.is_contiguous()
    assert torch.equal(scaled.cpu(), whole)
    assert torch.equal(model.encode_images(resized), model.encode_images(whole))


def test_preprocessing_without_a_scaling_at_its_end_is_left_whole():
    def preprocess(image):
        return torch.ones(3, 2, 2)

    parts = vlm.split_preprocess(preprocess)
    assert parts.resize is preprocess
    assert parts.scale(torch.zeros(1, dtype=torch.uint8)).tolist() == [0]
