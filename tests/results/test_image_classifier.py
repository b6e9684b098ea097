from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import lare_dassl
from lare_dassl import VLMIdentity, vlm
from lare_dassl.embeddings.encoder.decoding import decode_image
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.results.classifier_file import SavedClassifier, read_classifier, write_classifier
from lare_dassl.results.image_classifier import Unreadable, load_classifier
from lare_dassl.results.predictions import read_predictions
from tests.helpers import run_train, train_on_images, write_embeddings, write_image, write_tiny_model

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with images, a tiny model, and a run on them."""
    return train_on_images(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def classifier(trained):
    return load_classifier(trained / "run")


def images_tested_on(trained):
    keys = json.loads((trained / "run" / "split.json").read_text())["test"]
    return [trained / "images" / key for key in keys]


def by_hand(trained, path):
    """Class probabilities of one image, from the files alone."""
    saved = read_classifier(trained / "run" / "classifier.safetensors")
    model = vlm.load(vlm.resolve(f"local-dir:{trained}/model", "", allow_random=True), "fp32", torch.device("cpu"))
    embedding = model.encode_images(decode_image(path, model.preprocess)[None])[0].tolist()
    weight, bias = saved.module.weight.tolist(), saved.module.bias.tolist()
    logits = [sum(map(math.prod, zip(row, embedding, strict=True))) + b for row, b in zip(weight, bias, strict=True)]
    odds = [math.exp(logit / saved.temperature) for logit in logits]
    return {name: value / sum(odds) for name, value in zip(CLASSES, odds, strict=True)}


def test_images_get_the_classes_that_the_run_gave_them(trained, classifier):
    images = images_tested_on(trained)
    predicted = read_predictions(trained / "run" / "predictions.safetensors").predicted
    outcome = classifier.classify(images, top=1)
    assert [one.names[0] for one in outcome] == [CLASSES[label] for label in predicted]
    assert len({one.names[0] for one in outcome}) > 1
    assert [one.path for one in outcome] == images


def test_probabilities_are_the_softmax_of_logits_by_temperature(trained, classifier):
    assert classifier.saved.temperature != 1.0
    images = images_tested_on(trained)[:5]
    for path, outcome in zip(images, classifier.classify(images, top=9), strict=True):
        expected = by_hand(trained, path)
        assert list(outcome.names) == sorted(expected, key=expected.__getitem__, reverse=True)
        assert outcome.probabilities == pytest.approx([expected[name] for name in outcome.names], abs=1e-5)
        assert sum(outcome.probabilities) == pytest.approx(1, abs=1e-12)


def test_batches_do_not_matter(trained, classifier):
    images = list(map(str, images_tested_on(trained)))
    small = lare_dassl.load_classifier(trained / "run", batch_size=4).classify(images)
    for one, other in zip(small, classifier.classify(images), strict=True):
        assert one.names == other.names
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_pil_images_are_as_good_as_files(trained, classifier):
    path = images_tested_on(trained)[0]
    grey = Image.open(path).convert("L")
    outcome = classifier.classify([Image.open(path), path, grey])
    assert outcome[0].path is outcome[2].path is None
    assert outcome[0].probabilities == outcome[1].probabilities
    assert outcome[2].probabilities != outcome[1].probabilities


def test_the_model_is_loaded_once_and_only_for_images(trained, monkeypatch):
    loaded = []
    monkeypatch.setattr(vlm, "load", lambda *args, real=vlm.load: loaded.append(args[1]) or real(*args))
    classifier = load_classifier(trained / "run")
    classifier.logits(torch.randn(2, 32))
    assert loaded == []
    classifier.classify(images_tested_on(trained))
    classifier.classify(images_tested_on(trained))
    assert loaded == ["fp32"]


def test_embeddings_need_not_have_unit_length(classifier):
    rows = torch.randn(5, 32)
    torch.testing.assert_close(classifier.logits(7 * rows), classifier.saved.module(F.normalize(rows, dim=-1)))


@pytest.mark.parametrize("shape", [(32,), (2, 31), (1, 2, 32)])
def test_embeddings_of_another_shape_are_refused(classifier, shape):
    with pytest.raises(InputError, match=r"embeddings"):
        classifier.logits(torch.randn(shape))


def test_of_equal_classes_the_first_is_named(trained, tmp_path):
    saved = read_classifier(trained / "run" / "classifier.safetensors")
    layer, names = nn.Linear(32, 100), tuple(map(str, range(100)))
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, replace(saved, module=layer, classnames=names))
    (outcome,) = load_classifier(path).classify(images_tested_on(trained)[:1], top=4)
    assert outcome.names == ("0", "1", "2", "3")
    assert outcome.probabilities == pytest.approx([0.01] * 4, abs=1e-12)


def test_unreadable_images_do_not_stop_the_others(trained, classifier, tmp_path):
    good = images_tested_on(trained)[:3]
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(good[0].read_bytes()[:60])
    outcome = list(classifier.stream([good[0], broken, good[1], missing, good[2]]))
    assert [type(one) is Unreadable for one in outcome] == [False, True, False, True, False]
    assert [one for one in outcome if not isinstance(one, Unreadable)] == classifier.classify(good)
    assert (outcome[1].path, outcome[3].path) == (broken, missing)
    assert "No such file" in outcome[3].cause
    with pytest.raises(InputError, match=re.escape(f"2 of 3 images cannot be read, the first is {broken} (")):
        classifier.classify([broken, good[0], missing])
    assert classifier.classify([]) == []


def test_other_weights_are_refused(tmp_path):
    folder = write_weights(tmp_path, "weights", seed=1)
    images = [write_image(tmp_path / "image.png", seed=1)]
    path = save_for(tmp_path, folder)
    assert len(load_classifier(path).classify(images)) == 1
    write_weights(tmp_path, "weights", seed=2)
    with pytest.raises(InputError) as error:
        load_classifier(path).classify(images)
    message = str(error.value)
    assert f"{path} was trained with other weights of local-dir:{folder} (sha256 " in message and "\n" not in message
    assert load_classifier(path).logits(torch.rand(1, 32)).shape == (1, 3)


def test_weights_that_moved_are_found_by_their_name(tmp_path):
    folder = write_weights(tmp_path, "weights", seed=1)
    images = [write_image(tmp_path / "image.png", seed=1)]
    path = save_for(tmp_path, folder)
    before = load_classifier(path).classify(images)
    shutil.move(folder, tmp_path / "moved")
    with pytest.raises(InputError, match=r"the frozen model of .* \(--backbone, --pretrained\): model local-dir:"):
        load_classifier(path).classify(images)
    assert load_classifier(path, backbone=f"local-dir:{tmp_path}/moved").classify(images) == before


def write_weights(tmp_path, name, seed):
    """A tiny model folder with weights of its own."""
    write_tiny_model(tmp_path / name)
    model, _, _ = vlm.build_untrained(tmp_path / name)
    torch.manual_seed(seed)
    for weight in model.parameters():
        nn.init.normal_(weight)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, tmp_path / name / "model.safetensors")
    return tmp_path / name


def save_for(tmp_path, folder):
    """A classifier on the embeddings of the model in a folder."""
    torch.manual_seed(0)
    digest = file_sha256(folder / "model.safetensors")
    identity = VLMIdentity(f"local-dir:{folder}", "", digest, 32, 100.0, "fp32", "{}")
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, SavedClassifier(nn.Linear(32, 3), CLASSES, 1.5, 9, identity))
    return path


def test_a_weights_file_gets_the_preprocessing_of_the_training(tmp_path, monkeypatch):
    """The same weights by the name of a file say nothing of mean and std; the tag that was trained with did."""
    asked = []

    def resolve(model, pretrained, allow_random):
        asked.append((model, pretrained, allow_random))
        return vlm.VLMSource(model, model, pretrained, Path(pretrained), {}, {})

    monkeypatch.setattr(vlm, "resolve", resolve)
    monkeypatch.setattr(vlm, "load", lambda source, *_: source.preprocess)
    monkeypatch.setattr("lare_dassl.results.image_classifier.weights_sha256", lambda source: "ab")
    identity = VLMIdentity("ViT-L-14", "laion2b_s32b_b82k", "ab", 8, 100.0, "fp32", '{"mean": [0.5, 0.4, 0.3]}')
    for own, expected in ((identity, {"mean": [0.5, 0.4, 0.3]}), (replace(identity, preprocess=""), {})):
        write_classifier(tmp_path / "own.safetensors", SavedClassifier(nn.Linear(8, 3), CLASSES, 1.0, 0, own))
        assert load_classifier(tmp_path / "own.safetensors", pretrained="weights.pt").frozen_model == expected
    assert asked == [("ViT-L-14", "weights.pt", False)] * 2


def test_a_run_on_embeddings_of_a_model_that_is_not_here(tmp_path):
    data = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "ZeroShot", "--root", data, "--seed", 0, "--output-dir", tmp_path / "run")
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
    classifier = load_classifier(tmp_path / "run")
    assert classifier.logits(torch.rand(3, 16)).shape == (3, 5)
    unnamed = replace(classifier.saved, vlm=replace(classifier.saved.vlm, model=""))
    write_classifier(tmp_path / "unnamed.safetensors", unnamed)
    image = write_image(tmp_path / "image.png", seed=1)
    with pytest.raises(InputError, match="was trained on embeddings that do not say which model they are of"):
        load_classifier(tmp_path / "unnamed.safetensors").classify([image])
    write_classifier(tmp_path / "other.safetensors", replace(unnamed, vlm=replace(unnamed.vlm, model="no-such-model")))
    with pytest.raises(InputError, match=r"unknown model \(MODEL\.BACKBONE\.NAME\) 'no-such-model'"):
        load_classifier(tmp_path / "other.safetensors").classify([image])


def test_a_run_from_before_says_how_to_get_the_file(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "old")
    (tmp_path / "old" / "classifier.safetensors").unlink()
    with pytest.raises(InputError) as error:
        load_classifier(tmp_path / "old")
    assert f"--eval-only --model-dir {tmp_path}/old --output-dir {tmp_path}/old" in str(error.value)
    with pytest.raises(InputError, match="holds no finished run"):
        load_classifier(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        load_classifier(tmp_path / "nothing")


def test_eval_only_writes_the_file_that_is_missing(tmp_path):
    data = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "FineTune", "--root", data, "--seed", 0)
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 3)
    run = tmp_path / "run"
    assert run_train(*words, "--output-dir", run, *keys) == 0
    before = read_classifier(run / "classifier.safetensors")
    (run / "classifier.safetensors").unlink()
    assert run_train(*words, "--eval-only", "--model-dir", run, "--output-dir", run, *keys) == 0
    after = read_classifier(run / "classifier.safetensors")
    assert torch.equal(before.module.weight, after.module.weight)
    assert (before.temperature, before.vlm) == (after.temperature, after.vlm)


def test_numbers_below_one_are_refused(trained, classifier):
    with pytest.raises(InputError, match="at least 1, not 0"):
        classifier.classify([], top=0)
    with pytest.raises(InputError, match="the batch size must be at least 1, not 0"):
        load_classifier(trained / "run", batch_size=0)
