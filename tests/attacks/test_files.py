"""Files made to do harm: none is run, none fills the memory, each is refused in one line."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.config import merging
from lare_dassl.embeddings.cache.store import EmbeddingStore
from lare_dassl.embeddings.embedding_file import read_embedding_file
from lare_dassl.encoding.prompts import read_prompts_file
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.results.plan_file import read_plan
from lare_dassl.vlm import open_clip
from tests.helpers import run_train, write_embeddings, write_tiny_model

factory = open_clip.factory


class Evil:
    """Pickled, it asks its reader to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refusal(action) -> str:
    """The one line that an action is refused with."""
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


FORMS = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", ["model", "regions"])
def test_a_checkpoint_with_code_is_not_run(tmp_path, capsys, form, folder):
    write_embeddings(tmp_path / "data.safetensors")
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 2)
    words = ("--trainer", "LARE", "--seed", 0, "--root", tmp_path / "data.safetensors")
    (tmp_path / "run" / folder).mkdir(parents=True)
    path = tmp_path / "run" / folder / "model.pth.tar-2"
    FORMS[form]({"state_dict": {}, "run": Evil(tmp_path / "harm"), "epoch": 2}, path)
    (path.parent / "checkpoint").write_text("model.pth.tar-2\n")
    assert run_train(*words, "--output-dir", tmp_path / "run", *keys) == 2
    assert run_train(*words, "--eval-only", "--model-dir", tmp_path / "run", *keys) == 2
    errors = capsys.readouterr().err.splitlines()
    assert str(path) in errors[0] and "cannot be read" in errors[0]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("form", FORMS)
def test_weights_with_code_are_not_run(tmp_path, monkeypatch, form):
    for name in ("_MODEL_CONFIG_PATHS", "_MODEL_CONFIGS"):
        monkeypatch.setattr(factory, name, copy.copy(getattr(factory, name)))
    write_tiny_model(tmp_path / "models")
    content = json.loads((tmp_path / "models" / "open_clip_config.json").read_text())
    (tmp_path / "models" / "tiny-attacked.json").write_text(json.dumps(content["model_cfg"]))
    (tmp_path / "models" / "open_clip_config.json").unlink()
    factory.add_model_config(tmp_path / "models")
    path = tmp_path / "weights.pt"
    FORMS[form]({"state_dict": Evil(tmp_path / "harm")}, path)
    source = vlm.resolve("tiny-attacked", str(path))
    message = refusal(lambda: vlm.load(source, "fp32", torch.device("cpu")))
    assert str(path) in message
    assert not (tmp_path / "harm").exists()


def test_a_model_folder_that_asks_to_run_code_is_refused(tmp_path):
    name = write_tiny_model(tmp_path / "model")
    path = tmp_path / "model" / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "x/y", "tokenizer_kwargs": {"trust_remote_code": True}}
    path.write_text(json.dumps(content))
    message = refusal(lambda: vlm.resolve(name, "", allow_random=True))
    assert message == f"model {name}: {path} asks to run code (trust_remote_code): take that out"


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    assert "it has compressed parts or folders, as torch writes none" in refusal(lambda: checkpoint.read(path))


@pytest.mark.parametrize("name", ["../other/model.pth.tar-2", "/etc/passwd", "..", "", "a\x1b[31m", "a\x00b"])
def test_the_name_of_the_latest_checkpoint_leads_nowhere_else(tmp_path, name):
    (tmp_path / "checkpoint").write_text(f"{name}\n")
    assert f"{tmp_path / 'checkpoint'} is damaged" in refusal(lambda: checkpoint.latest(tmp_path))


U8 = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
HEADERS = {
    "longer than the file": struct.pack("<Q", 1000) + b"{}",
    "longer than any memory": struct.pack("<Q", 2**63) + b"{}",
    "longer than allowed": struct.pack("<Q", 10**9) + b"{}",
    "nested": b'{"__metadata__":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "no text": b"\xff\xfe\xfa\x00" * 8,
    "metadata that are no text": b'{"__metadata__":{"format":1}}',
    "data beyond the file": json.dumps({"a": U8 | {"shape": [10**12], "data_offsets": [0, 10**12]}}).encode(),
    "data before the file": json.dumps({"a": U8 | {"data_offsets": [-8, 0]}}).encode(),
    "data that overlap": json.dumps({"a": U8, "b": U8}).encode(),
    "a shape that overflows": json.dumps({"a": U8 | {"shape": [2**32, 2**32, 0]}}).encode(),
    "a shape that does not fit": json.dumps({"a": U8 | {"shape": [9]}}).encode(),
    "a type that is none": json.dumps({"a": U8 | {"dtype": "PICKLE"}}).encode(),
    "two hundred dimensions": json.dumps({"a": U8 | {"shape": [1] * 200 + [8]}}).encode(),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, kind):
    header, path = HEADERS[kind], tmp_path / "data.safetensors"
    whole = header if header[:1] != b"{" else struct.pack("<Q", len(header)) + header + bytes(8)
    path.write_bytes(whole)
    assert str(path) in refusal(lambda: read_embedding_file(path))


DEEP = "[" * 100_000 + "]" * 100_000
JSON_TEXTS = {
    "deep": DEEP,
    "deep but readable": "[" * 200 + "]" * 200,
    "deep in an object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "a huge number": '{"train": ' + "1" * 10_000 + "}",
    "a number beyond all": '{"train": 1e999}',
    "NaN": '{"train": NaN}',
    "Infinity": '{"train": [Infinity]}',
    "a key twice": '{"train": [], "train": []}',
    "half a pair of signs": '{"train": "\\ud800"}',
    "NUL": '{"train": "\\u0000"}',
    "another encoding": '{"train": []}'.encode("utf-16"),
    "no JSON": "{'train': []}",
    "two": "{}{}",
}


@pytest.mark.parametrize("kind", JSON_TEXTS)
def test_json_made_to_hurt_is_refused_by_each_reader(tmp_path, kind):
    text, path = JSON_TEXTS[kind], tmp_path / "content.json"
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(content)
    for read in (lambda path: read_prompts_file(path, ["cat"], ["cat"]), read_plan):
        assert str(path) in refusal(lambda read=read: read(path))
    path.rename(tmp_path / "open_clip_config.json")
    message = refusal(lambda: vlm.resolve(f"local-dir:{tmp_path}", "", allow_random=True))
    assert "open_clip_config.json is missing or holds no 'model_cfg'" in message
    store = EmbeddingStore(tmp_path / "cache", "f" * 64)
    (store.folder / "model.json").write_bytes(content)
    assert store.facts() == {}
    store.remember(embedding_dim=8)
    assert store.facts() == {"embedding_dim": 8}


YAML_TEXTS = {
    "an object": "OPTIM: !!python/object/apply:os.mkdir ['{harm}']",
    "a name": "OPTIM: {{LR: !!python/name:os.system }}",
    "a module": "OPTIM: !!python/module:os",
    "a new object": "A: !!python/object/new:os.mkdir ['{harm}']",
    "laughs": "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "itself": "OPTIM: &a {{LR: *a}}",
    "itself in a list": "OPTIM: {{LR: &a [*a]}}",
    "deep": "OPTIM: " + "[" * 3_000,
    "deep in blocks": "".join(" " * n + "a:\n" for n in range(3_000)),
    "no date": "OPTIM: 2026-13-45",
    "a huge number": "SEED: " + "9" * 10_000,
    "no text": "\x00",
}


@pytest.mark.parametrize("kind", YAML_TEXTS)
def test_yaml_made_to_hurt_is_refused(tmp_path, kind):
    path = tmp_path / "settings.yaml"
    path.write_text(YAML_TEXTS[kind].format(harm=tmp_path / "harm"))
    message = refusal(lambda: merging.merge_file(merging.new_config(), path))
    assert str(path) in message and len(message) < 2_000
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("value", ["!!python/object/apply:os.mkdir [harm]", "[" * 3_000, "9" * 10_000, "(" * 5_000])
@pytest.mark.parametrize("key", ["OPTIM.LR", "OPTIM.MAX_EPOCH", "DATASET.SOURCE_DOMAINS", "DATASET.EXPECTED_IMAGES.a"])
def test_values_made_to_hurt_run_nothing(tmp_path, monkeypatch, key, value):
    monkeypatch.chdir(tmp_path)
    try:
        merging.merge_overrides(merging.new_config(), [key, value])
    except InputError as error:
        assert key in str(error) and "\n" not in str(error)
    assert list(tmp_path.iterdir()) == []
