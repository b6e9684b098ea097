"""What the papers report of each method, and what the controls show, on real CLIP embeddings of 39 Caltech classes.

Accuracy on 1,034 test images. Needs a file that does not ship with the project.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from lare_dassl.results.record import read_record
from tests.helpers import run_train

FILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "caltech39-clip-vit-b32.safetensors"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"needs ../shared/data/{FILE.name}")


@pytest.fixture(scope="module", name="accuracy")
def _accuracy(tmp_path_factory):
    """`accuracy(TRAINER, SHOTS, KEY, VALUE, ...)`: test accuracy in % with seed 0; each run is made once."""
    folder = tmp_path_factory.mktemp("caltech")

    @cache
    def measure(trainer, shots, *keys):
        output = folder / "-".join(map(str, (trainer, shots, *keys)))
        words = ("--trainer", trainer, "--root", FILE, "--seed", 0, "--output-dir", output)
        assert run_train(*words, "DATASET.NAME", "EmbeddingFile", "DATASET.NUM_SHOTS", shots, *keys) == 0
        return read_record(output / "record.json").metrics.accuracy

    return measure


def test_the_zero_shot_classifier_is_that_of_the_file(accuracy):
    assert accuracy("ZeroShot", 1) == pytest.approx(97.97, abs=0.05)


def test_a_start_at_the_texts_is_far_better_with_one_image(accuracy):
    assert accuracy("FineTune", 1, "CLASSIFIER.INIT", "text") > accuracy("FineTune", 1) + 5


def test_class_texts_as_samples_help_most_with_one_image(accuracy):
    gain = accuracy("CrossModal", 1) - accuracy("FineTune", 1)
    assert gain > 4
    assert 0 < accuracy("CrossModal", 16) - accuracy("FineTune", 16) < gain


def test_an_adapter_improves_on_the_zero_shot_classifier(accuracy):
    assert accuracy("CLIPAdapter", 1) > accuracy("ZeroShot", 1) - 0.5
    assert accuracy("CLIPAdapter", 16) > accuracy("ZeroShot", 16) + 0.5


def test_a_cache_costs_nothing_and_its_trained_keys_gain(accuracy):
    for shots in (1, 16):
        assert accuracy("TipAdapter", shots) > accuracy("ZeroShot", shots) - 0.5
    assert accuracy("TipAdapterF", 16) > accuracy("TipAdapter", 16) + 0.3


def test_averaging_with_the_texts_mends_a_poor_probe(accuracy):
    assert accuracy("FineTune", 1, "CLASSIFIER.AVERAGE", "val") > accuracy("FineTune", 1) + 5
    assert accuracy("FineTune", 1, "CLASSIFIER.AVERAGE", "0") == accuracy("ZeroShot", 1)


def test_samples_of_the_regions_gain_more_than_any_control(accuracy):
    probe, lare = accuracy("FineTune", 1), accuracy("LARE", 1)
    assert lare > probe + 5
    assert abs(accuracy("GaussianNoise", 1) - probe) < 2
    for control in ("GaussianNoise", "TextInterpolation", "RegionCentre"):
        assert probe - 2 < accuracy(control, 1) < lare - 1


def test_more_samples_of_each_image_do_not_hurt_with_one_image(accuracy):
    for samples in (4, 16):
        assert accuracy("LARE", 1, "TRAINER.LARE.SAMPLES_PER_IMAGE", samples) > accuracy("LARE", 1) - 0.5


def test_context_optimisation_says_what_the_file_lacks(tmp_path, capsys):
    words = ("--trainer", "ContextOptimisation", "--root", FILE, "--seed", 0, "--output-dir", tmp_path)
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile", "DATASET.NUM_SHOTS", 1) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "weights" in line
