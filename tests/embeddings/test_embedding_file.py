from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from lare_dassl.embeddings.embedding_file import read_embedding_file, write_embedding_file
from lare_dassl.errors import InputError
from tests.helpers import shifted_embeddings, write_embeddings

COLUMNS = ("image", "label", "domain")


@pytest.fixture
def path(tmp_path):
    return write_embeddings(tmp_path / "birds.safetensors")


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_set_comes_back_as_it_was_written(tmp_path, dtype):
    """Rows in half precision come back in float32, of unit length."""
    path, stored = tmp_path / "new" / "set.safetensors", shifted_embeddings(described=("sketch", "photo"))
    stored = replace(stored, described_domains=("neon", "photo"))
    write_embedding_file(path, stored, dtype)
    back, (tensors, metadata) = read_embedding_file(path), contents(path)

    def assert_same(read, name, written):
        assert tensors[name].dtype == dtype
        torch.testing.assert_close(read, F.normalize(written.to(dtype).float(), dim=-1), rtol=0, atol=1e-6)

    assert_same(back.class_text, "text/class", stored.class_text)
    assert_same(back.domain_text, "text/domain", stored.domain_text)
    for name, rows in stored.splits().items():
        read = back.splits()[name]
        assert_same(read.embedding, f"{name}/image", rows.embedding)
        assert torch.equal(read.label, rows.label)
        assert torch.equal(read.domain, rows.domain)
    fields = ("classnames", "domain_names", "source_domains", "target_domains", "described_domains", "vlm")
    assert [getattr(back, field) for field in fields] == [getattr(stored, field) for field in fields]
    assert json.loads(metadata["described_domains"]) == ["neon", "photo"]


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("train", "test")])
def test_the_file_says_what_the_format_asks_for(tmp_path, splits):
    path = write_embeddings(tmp_path / "set.safetensors", shifted_embeddings(with_val="val" in splits))
    tensors, metadata = contents(path)
    assert set(tensors) == {f"{split}/{name}" for split in splits for name in COLUMNS} | {"text/class"}
    assert metadata["format"] == "embedding-file/1"
    assert json.loads(metadata["classnames"]) == ["cat", "dog", "heron", "owl", "wren"]
    assert json.loads(metadata["target_domains"]) == ["painting", "sketch"]
    assert (metadata["model"], metadata["pretrained"], metadata["logit_scale"]) == ("ViT-B-32", "openai", "50.0")
    assert "described_domains" not in metadata
    back = read_embedding_file(path)
    assert tuple(back.splits()) == splits
    assert (back.domain_text, back.described_domains) == (None, ())


def rewrite(path, change_tensors=None, change_metadata=None):
    """Write the file again with some tensors or metadata set, or removed where the new value is None.

    The checksum is removed too: what is wrong in a file of others is to be found without one.
    """
    tensors, metadata = contents(path)
    tensors |= change_tensors(tensors) if change_tensors else {}
    metadata |= {"sha256": None} | (change_metadata or {})
    kept = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    save_file(kept, path, {key: value for key, value in metadata.items() if value is not None})
    return path


def test_rows_are_normalised_on_reading(path):
    before = read_embedding_file(path)
    lengths = torch.linspace(0.1, 90, 40)[:, None]
    rewrite(path, lambda t: {"train/image": t["train/image"] * lengths, "text/class": t["text/class"] * 7})
    after = read_embedding_file(path)
    torch.testing.assert_close(after.train.embedding, before.train.embedding)
    torch.testing.assert_close(after.train.embedding.norm(dim=-1), torch.ones(40))
    torch.testing.assert_close(after.class_text, before.class_text)


@pytest.mark.parametrize("length", [1.02, 40.0, 1e15])
def test_a_longer_row_among_unit_rows_is_damaged(path, length):
    rewrite(path, lambda t: {"test/image": t["test/image"] * torch.ones(60, 1).index_fill(0, torch.tensor(7), length)})
    message = rf"'test/image' row 7 has the length {length:.4g}, where most have 1 \(1 such rows\): it is damaged"
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        read_embedding_file(path)


def test_rows_of_any_length_and_averages_of_unit_rows_are_taken(path):
    rewrite(path, lambda t: {"train/image": t["train/image"] * 1.5, "text/class": t["text/class"] * 0.9})
    rewrite(path, lambda t: {"val/image": t["val/image"] * torch.linspace(0.5, 1, 20)[:, None]})
    assert read_embedding_file(path).train.embedding.norm(dim=1).sub(1).abs().max() < 1e-5


def test_a_changed_row_or_name_does_not_match_the_checksum(path):
    whole = path.read_bytes()
    assert "sha256" in contents(path)[1]
    for changed in (whole[:-1] + bytes([whole[-1] ^ 1]), whole.replace(b"heron", b"haron")):
        path.write_bytes(changed)
        message = f"{path} is damaged: its content does not match the sha256 in its metadata: get or extract it anew"
        with pytest.raises(InputError, match=re.escape(message)):
            read_embedding_file(path)


def test_other_metadata_is_left_alone(path):
    unknown = {"weights_sha256": None, "precision": None, "preprocess": None}
    rewrite(path, change_metadata={"made_by": "somebody", **unknown})
    identity = read_embedding_file(path).vlm
    assert (identity.weights_sha256, identity.precision, identity.preprocess) == ("", "", "")


def test_descriptions_without_names_are_of_the_files_domains(path):
    text = torch.arange(1.0, 241.0).reshape(3, 5, 16)
    back = read_embedding_file(rewrite(path, lambda t: {"text/domain": text.half()}))
    assert back.described_domains == ("photo", "painting", "sketch")
    torch.testing.assert_close(back.domain_text, F.normalize(text.half().float(), dim=-1))


def test_a_source_domain_is_no_target(path):
    rewrite(path, change_metadata={"target_domains": json.dumps(["photo", "painting", "sketch"])})
    back = read_embedding_file(path)
    assert back.source_domains == ("photo",)
    assert back.target_domains == ("painting", "sketch")


def set_row(key, row, value):
    return lambda tensors: {key: tensors[key].index_fill(0, torch.tensor(row), value)}


FLOATS = "must be float16, bfloat16 or float32"
ZERO_DESCRIPTION = torch.ones(3, 5, 16)
ZERO_DESCRIPTION[1, 2] = 0
DESCRIPTIONS = {"text/domain": torch.ones(3, 5, 16)}
NO_LIST, TWICE = "must be a JSON list of strings", "holds a name twice"

DAMAGED_TENSORS = [
    *(
        (lambda t, key=key: {key: None}, f"tensor '{key}' is missing")
        for key in ("train/image", "test/image", "train/label", "test/domain", "text/class", "val/label")
    ),
    (lambda t: {"train/image": t["train/image"][0]}, f"'train/image' {FLOATS} (N, D)"),
    (
        lambda t: {"train/image": t["train/image"].double()},
        f"'train/image' {FLOATS} (N, D), not torch.float64 (40, 16)",
    ),
    (lambda t: {"text/class": t["text/class"].long()}, f"'text/class' {FLOATS}"),
    (lambda t: {"text/class": t["text/class"][:4]}, "must be (5 classes, 16), got (4, 16)"),
    (lambda t: {"test/label": t["test/label"][:-1]}, "split 'test': embedding (N, D), label (N,)"),
    (lambda t: {"train/label": t["train/label"].int()}, "split 'train': label and domain must be int64"),
    (set_row("test/domain", 0, 3), "test/domain must lie in [0, 3), got 0 to 3"),
    (set_row("val/image", 4, torch.nan), "'val/image' row 4 is NaN, infinite or zero (1 such rows)"),
    (set_row("test/image", [2, 3, 4], torch.inf), "'test/image' row 2 is NaN, infinite or zero (3 such rows)"),
    (set_row("train/image", 39, 0.0), "'train/image' row 39 is NaN, infinite or zero (1 such rows)"),
    (set_row("text/class", 1, torch.nan), "'text/class' row 1 is NaN"),
    (lambda t: {"text/domain": torch.ones(5, 16)}, f"'text/domain' {FLOATS} (K, C, D), not torch.float32 (5, 16)"),
    (
        lambda t: {"text/domain": torch.ones(2, 5, 16)},
        "'text/domain' describes 2 domains, and metadata 'domains' names 3: give 'described_domains' one name for each",
    ),
    (lambda t: {"text/domain": ZERO_DESCRIPTION}, "'text/domain' row 1, 2 is NaN, infinite or zero (1 such rows)"),
]

# Metadata that are changed, by the tensors that come with them.
DAMAGED_METADATA = [
    ({}, "format", None, "must be 'embedding-file/1', not 'None'"),
    ({}, "format", "embedding-file/9", "must be 'embedding-file/1', not 'embedding-file/9'"),
    ({}, "classnames", None, NO_LIST),
    ({}, "classnames", "cat, dog", NO_LIST),
    ({}, "classnames", '{"cat": 0}', NO_LIST),
    ({}, "domains", "[1, 2, 3]", NO_LIST),
    ({}, "classnames", '["cat", "dog", "cat", "owl", "wren"]', TWICE),
    ({}, "domains", '["photo", "photo", "sketch"]', TWICE),
    ({}, "source_domains", '["phot"]', "names 'phot', which is not among 'domains'"),
    ({}, "target_domains", '["neon"]', "names 'neon', which is not among 'domains'"),
    *(({}, "logit_scale", scale, "must be a positive number") for scale in (None, "high", "nan", "-1")),
    *(
        ({}, "preprocess", text, "must be a JSON object, or empty")
        for text in ("{", "[1]", "3", '{"mean": NaN}', "[" * 10_000)
    ),
    (DESCRIPTIONS, "described_domains", '["photo"]', "names 1: give 'described_domains' one name for each"),
    (DESCRIPTIONS, "described_domains", '["photo", "neon", "neon"]', TWICE),
    (DESCRIPTIONS, "described_domains", "photo", NO_LIST),
]


def assert_refused(path, message):
    with pytest.raises(InputError) as error:
        read_embedding_file(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), DAMAGED_TENSORS)
def test_damaged_tensors_are_named(path, change, message):
    assert_refused(rewrite(path, change), message)


@pytest.mark.parametrize(("tensors", "key", "value", "fault"), DAMAGED_METADATA)
def test_bad_metadata_is_named(path, tensors, key, value, fault):
    assert_refused(rewrite(path, lambda _: tensors, {key: value}), f"metadata '{key}' {fault}")


def test_names_of_descriptions_that_are_not_there_are_told(path):
    assert_refused(rewrite(path, change_metadata={"described_domains": '["photo"]'}), "tensor 'text/domain' is missing")


def test_what_is_no_safetensors_file_is_told(tmp_path, path):
    assert_refused(tmp_path / "no.safetensors", "DATASET.ROOT")
    assert_refused(tmp_path, "no embedding file")
    whole = path.read_bytes()
    for content in (b"not a safetensors file at all", b"\xff" * 64, *(whole[: len(whole) * k // 4] for k in range(4))):
        path.write_bytes(content)
        assert_refused(path, "is damaged or no safetensors file")


def test_writing_where_it_cannot_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "set.safetensors", tmp_path / f"{250 * 'x'}.s"):
        with pytest.raises(InputError, match="cannot write"):
            write_embedding_file(path, shifted_embeddings())
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
