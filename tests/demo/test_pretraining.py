from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lare_dassl.demo import captions, pretraining
from lare_dassl.demo.pretraining import Settings
from lare_dassl.errors import InputError
from lare_dassl.vlm import DEMO_FOLDER, build_untrained

QUICK = Settings(steps=2, batch_size=8, warmup_steps=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_two_steps_run_and_give_finite_weights(tmp_path):
    assert math.isfinite(pretraining.pretrain(tmp_path, QUICK))
    weights = load_file(tmp_path / pretraining.WEIGHTS_FILE)
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    pretraining.pretrain(tmp_path / "whole", QUICK)
    real_step = pretraining.Learner.step

    def killed_at_second_step(learner, number):
        if number == 1:
            raise KeyboardInterrupt
        return real_step(learner, number)

    monkeypatch.setattr(pretraining.Learner, "step", killed_at_second_step)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(tmp_path / "killed", QUICK, checkpoint_every=1)
    monkeypatch.setattr(pretraining.Learner, "step", real_step)
    pretraining.pretrain(tmp_path / "killed", QUICK, checkpoint_every=1)
    whole, resumed = (load_file(tmp_path / name / pretraining.WEIGHTS_FILE) for name in ("whole", "killed"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    pretraining.pretrain(tmp_path, QUICK, checkpoint_every=1)
    with pytest.raises(InputError, match="other settings"):
        pretraining.pretrain(tmp_path, Settings(steps=3, batch_size=8))


def test_equal_captions_count_as_one():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(3, 5, generator=generator), dim=-1) for _ in range(2))
    text[2] = text[0]
    tokens = torch.tensor([[1, 2], [3, 4], [1, 2]])
    logits = 7 * image @ text.T
    expected = 0.0
    for table in (logits, logits.T):
        log_shares = table.log_softmax(dim=1)
        rows = [log_shares[0, [0, 2]].mean(), log_shares[1, 1], log_shares[2, [0, 2]].mean()]
        expected -= sum(float(row) for row in rows) / 3 / 2
    found = pretraining.contrastive_loss(image, text, torch.tensor(7.0), tokens)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_warms_up_and_stays():
    settings = Settings(steps=100, warmup_steps=10)
    factors = [pretraining.learning_rate_factor(step, settings) for step in range(100)]
    assert factors[:2] == [0.1, 0.2]
    assert set(factors[9:]) == {1.0}


def test_each_known_word_is_one_token(tmp_path):
    pretraining.write_architecture(tmp_path)
    _, tokenizer, _ = build_untrained(tmp_path)
    tokens = tokenizer(captions.vocabulary())
    assert tokens.shape[1] == pretraining.CONTEXT_LENGTH
    assert ((tokens != 0).sum(dim=1) == 3).all()
    assert len({int(row[1]) for row in tokens}) == len(captions.vocabulary())


def test_every_caption_fits_the_context(tmp_path):
    pretraining.write_architecture(tmp_path)
    _, tokenizer, _ = build_untrained(tmp_path)
    longest = [f"a painting of a yellow thing with {feature}." for feature in captions.FEATURES.values()]
    assert (tokenizer(longest) == tokenizer.eot_token_id).any(dim=1).all()


def test_training_pixels_are_those_of_the_models_own_preprocessing(tmp_path):
    pretraining.write_architecture(tmp_path)
    _, _, preprocess = build_untrained(tmp_path)
    image = captions.batch(0, 1).images[0]
    expected = (image.float() / 255 - pretraining.PIXEL_MEAN) / pretraining.PIXEL_STD
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    torch.testing.assert_close(preprocess(picture), expected)


def test_the_shipped_folder_has_this_architecture_and_vocabulary(tmp_path):
    pretraining.write_architecture(tmp_path)
    for name in ("open_clip_config.json", pretraining.MERGES_FILE):
        assert (DEMO_FOLDER / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert sum(path.stat().st_size for path in DEMO_FOLDER.iterdir()) < 10e6
