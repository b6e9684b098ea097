from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lare_dassl import VLMIdentity
from lare_dassl.errors import InputError
from lare_dassl.io.tensors import write_tensors
from lare_dassl.methods.clip_adapter import AdapterClassifier
from lare_dassl.methods.tip_adapter import cache_classifier
from lare_dassl.results.classifier_file import KINDS, SavedClassifier, kind_of, read_classifier, write_classifier

VLM = VLMIdentity("ViT-B-32", "openai", "0123abcd", 8, 50.0, "bf16", '{"mean": [0.5, 0.5, 0.5]}')
NAMES = ("cat", "dog", "dog", "owl")


def rows(count, seed):
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def adapter():
    torch.manual_seed(3)
    return AdapterClassifier(rows(4, 1), 50.0, 2, 0.3)


MODULES = {
    "linear": lambda: nn.Linear(8, 4),
    "clip_adapter": adapter,
    "tip_adapter": lambda: cache_classifier(rows(9, 2), torch.arange(9) % 4, rows(4, 1), 50.0, alpha=2.0, beta=3.0),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, SavedClassifier(nn.Linear(8, 4), NAMES, 1.25, 20, VLM))
    return path


def test_every_kind_has_its_test():
    assert set(KINDS) == set(MODULES)


@pytest.mark.parametrize("kind", MODULES)
def test_a_classifier_comes_back_as_it_was_written(tmp_path, kind):
    saved = SavedClassifier(MODULES[kind](), NAMES, 0.1 + 0.2, 20, VLM)
    assert kind_of(saved.module) == kind
    write_classifier(tmp_path / "classifier.safetensors", saved)
    back = read_classifier(tmp_path / "classifier.safetensors")
    assert type(back.module) is type(saved.module)
    assert torch.equal(back.module(rows(6, 5)), saved.module(rows(6, 5)))
    assert not back.module.training and not any(weight.requires_grad for weight in back.module.parameters())
    # Two classes may share a name.
    assert (back.classnames, back.temperature, back.calibration_rows, back.vlm) == (NAMES, 0.1 + 0.2, 20, VLM)


def test_a_module_that_cannot_be_rebuilt_is_of_no_kind():
    class Wider(nn.Linear):
        pass

    assert kind_of(nn.Sequential(nn.Linear(8, 4))) == kind_of(Wider(8, 4)) == ""


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def test_the_file_says_what_the_format_asks_for(path):
    tensors, metadata = contents(path)
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {"weight": (4, 8), "bias": (4,)}
    assert metadata.pop("sha256")
    assert metadata == {
        "format": "classifier/1",
        "kind": "linear",
        "classnames": '["cat", "dog", "dog", "owl"]',
        "temperature": "1.25",
        "calibration_rows": "20",
        "embedding_dim": "8",
        "model": "ViT-B-32",
        "pretrained": "openai",
        "weights_sha256": "0123abcd",
        "precision": "bf16",
        "preprocess": '{"mean": [0.5, 0.5, 0.5]}',
        "logit_scale": "50.0",
    }


def assert_refused(path, message):
    with pytest.raises(InputError) as error:
        read_classifier(path)
    assert str(path) in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_file_is_named(path):
    whole = path.read_bytes()
    # The last byte is one of the tensors', which safetensors takes as they come.
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b"1.25", b"1.26"), b"", b"x" * 99):
        assert damaged != whole
        path.write_bytes(damaged)
        assert_refused(path, "damaged")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "classifier/2", "'format' must be 'classifier/1'"),
        ("kind", "linear2", "is damaged: its content does not match the sha256"),
    ],
)
def test_changed_metadata_are_refused(path, key, value, message):
    tensors, metadata = contents(path)
    save_file(tensors, path, metadata | {key: value})
    assert_refused(path, message)


def test_a_kind_that_is_not_known_here_is_named(path):
    class Other(nn.Linear):
        kind = "liner"

    write_classifier(path, SavedClassifier(Other(8, 4), NAMES, 1.0, 0, VLM))
    assert_refused(path, "unknown kind of classifier 'liner': did you mean 'linear'?")


def test_a_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "classifier.safetensors", "there is no file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": "0"}, "the temperature must be a positive number, not 0.0"),
        ({"temperature": "nan"}, "the temperature must be a positive number, not nan"),
        ({"temperature": "hot"}, "it cannot be rebuilt (could not convert string to float: 'hot')"),
        ({"embedding_dim": "many"}, "it cannot be rebuilt (invalid literal"),
        ({"classnames": "[" * 10_000}, "metadata 'classnames' must be a JSON list of strings"),
        ({"kind": "tip_adapter"}, "it cannot be rebuilt ("),
    ],
)
def test_a_forged_file_whose_checksum_fits_is_refused(path, changes, message):
    tensors, metadata = contents(path)
    write_tensors(path, tensors, {key: value for key, value in (metadata | changes).items() if key != "sha256"})
    assert_refused(path, message)


def test_a_file_without_checksum_is_refused(path):
    tensors, metadata = contents(path)
    del metadata["sha256"]
    save_file(tensors, path, metadata)
    assert_refused(path, "it is damaged (its metadata have no 'sha256'): run again, or get it anew")
