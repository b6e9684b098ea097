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

ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@pytest.fixture
def path(tmp_path):
    return write_embeddings(tmp_path / "birds.safetensors")


def contents(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("dtype", ROUNDING)
def test_a_set_comes_back_as_it_was_written(tmp_path, dtype):
    stored = shifted_embeddings()
    write_embedding_file(tmp_path / "new" / "set.safetensors", stored, dtype)
    back = read_embedding_file(tmp_path / "new" / "set.safetensors")

    assert contents(tmp_path / "new" / "set.safetensors")[0]["val/image"].dtype == dtype
    tolerance = {"rtol": 0, "atol": ROUNDING[dtype]}
    torch.testing.assert_close(back.class_text, stored.class_text, **tolerance)
    for name, rows in stored.splits().items():
        read = back.splits()[name]
        torch.testing.assert_close(read.embedding, rows.embedding, **tolerance)
        assert torch.equal(read.label, rows.label)
        assert torch.equal(read.domain, rows.domain)
    fields = ("classnames", "domain_names", "source_domains", "target_domains", "vlm")
    assert [getattr(back, field) for field in fields] == [getattr(stored, field) for field in fields]


def test_the_file_says_what_the_format_asks_for(path):
    tensors, metadata = contents(path)
    columns = {f"{split}/{name}" for split in ("train", "val", "test") for name in ("image", "label", "domain")}
    assert set(tensors) == columns | {"text/class"}
    assert metadata["format"] == "embedding-file/1"
    assert json.loads(metadata["classnames"]) == ["cat", "dog", "heron", "owl", "wren"]
    assert json.loads(metadata["target_domains"]) == ["painting", "sketch"]
    assert (metadata["model"], metadata["pretrained"], metadata["logit_scale"]) == ("ViT-B-32", "openai", "50.0")


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
    def stretch(tensors):
        tensors["test/image"][7] *= length
        return {}

    rewrite(path, stretch)
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


@pytest.mark.parametrize("preprocess", ["{", "[1]", "3", '{"mean": NaN}', "[" * 10_000])
def test_preprocessing_that_is_no_json_object_is_told(path, preprocess):
    rewrite(path, change_metadata={"preprocess": preprocess})
    with pytest.raises(InputError, match="metadata 'preprocess' must be a JSON object, or empty"):
        read_embedding_file(path)


def test_val_is_optional(tmp_path):
    path = write_embeddings(tmp_path / "set.safetensors", shifted_embeddings(with_val=False))
    assert not any(key.startswith("val/") for key in contents(path)[0])
    assert read_embedding_file(path).val is None


def test_other_metadata_is_left_alone(path):
    unknown = {"weights_sha256": None, "precision": None, "preprocess": None}
    rewrite(path, change_metadata={"made_by": "somebody", **unknown})
    identity = read_embedding_file(path).vlm
    assert (identity.weights_sha256, identity.precision, identity.preprocess) == ("", "", "")


@pytest.mark.parametrize("dtype", ROUNDING)
def test_domain_descriptions_come_back_as_they_were_written(tmp_path, dtype):
    stored = shifted_embeddings(described=("sketch", "photo"))
    stored = replace(stored, described_domains=("neon", "photo"))
    write_embedding_file(tmp_path / "set.safetensors", stored, dtype)
    tensors, metadata = contents(tmp_path / "set.safetensors")
    assert tensors["text/domain"].dtype == dtype
    assert json.loads(metadata["described_domains"]) == ["neon", "photo"]
    back = read_embedding_file(tmp_path / "set.safetensors")
    assert back.described_domains == ("neon", "photo")
    torch.testing.assert_close(back.domain_text, stored.domain_text, rtol=0, atol=ROUNDING[dtype])


def test_a_file_without_descriptions_describes_nothing(path):
    assert "described_domains" not in contents(path)[1]
    back = read_embedding_file(path)
    assert (back.domain_text, back.described_domains) == (None, ())


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
    def change(tensors):
        values = tensors[key].clone()
        values[row] = value
        return {key: values}

    return change


DAMAGED_TENSORS = [
    *(
        (lambda t, key=key: {key: None}, f"tensor '{key}' is missing")
        for key in ("train/image", "test/image", "train/label", "test/domain", "text/class", "val/label")
    ),
    (lambda t: {"train/image": t["train/image"][0]}, "'train/image' must be float16, bfloat16 or float32 (N, D)"),
    (
        lambda t: {"train/image": t["train/image"].double()},
        "'train/image' must be float16, bfloat16 or float32 (N, D), not torch.float64 (40, 16)",
    ),
    (lambda t: {"text/class": t["text/class"].long()}, "'text/class' must be float16"),
    (lambda t: {"text/class": t["text/class"][:4]}, "must be (5 classes, 16), got (4, 16)"),
    (lambda t: {"test/label": t["test/label"][:-1]}, "split 'test': embedding (N, D), label (N,)"),
    (lambda t: {"train/label": t["train/label"].int()}, "split 'train': label and domain must be int64"),
    (set_row("test/domain", 0, 3), "test/domain must lie in [0, 3), got 0 to 3"),
    (set_row("val/image", 4, torch.nan), "'val/image' row 4 is NaN, infinite or zero (1 such rows)"),
    (set_row("test/image", slice(2, 5), torch.inf), "'test/image' row 2 is NaN, infinite or zero (3 such rows)"),
    (set_row("train/image", 39, 0.0), "'train/image' row 39 is NaN, infinite or zero (1 such rows)"),
    (set_row("text/class", 1, torch.nan), "'text/class' row 1 is NaN"),
    (
        lambda t: {"text/domain": torch.ones(5, 16)},
        "'text/domain' must be float16, bfloat16 or float32 (K, C, D), not torch.float32 (5, 16)",
    ),
    (
        lambda t: {"text/domain": torch.ones(2, 5, 16)},
        "'text/domain' describes 2 domains, and metadata 'domains' names 3: give 'described_domains' one name for each",
    ),
    (
        lambda t: {
            "text/domain": torch.ones(3, 5, 16).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(0.0))
        },
        "'text/domain' row 1, 2 is NaN, infinite or zero (1 such rows)",
    ),
]

DAMAGED_METADATA = [
    ({"format": None}, "metadata 'format' must be 'embedding-file/1', not 'None'"),
    ({"format": "embedding-file/9"}, "metadata 'format' must be 'embedding-file/1', not 'embedding-file/9'"),
    ({"classnames": None}, "metadata 'classnames' must be a JSON list of strings"),
    ({"classnames": "cat, dog"}, "metadata 'classnames' must be a JSON list of strings"),
    ({"classnames": '{"cat": 0}'}, "metadata 'classnames' must be a JSON list of strings"),
    ({"domains": "[1, 2, 3]"}, "metadata 'domains' must be a JSON list of strings"),
    ({"classnames": '["cat", "dog", "cat", "owl", "wren"]'}, "metadata 'classnames' holds a name twice"),
    ({"domains": '["photo", "photo", "sketch"]'}, "metadata 'domains' holds a name twice"),
    ({"source_domains": '["phot"]'}, "metadata 'source_domains' names 'phot', which is not among 'domains'"),
    ({"target_domains": '["neon"]'}, "metadata 'target_domains' names 'neon', which is not among 'domains'"),
    ({"described_domains": '["photo"]'}, "tensor 'text/domain' is missing"),
    ({"logit_scale": None}, "metadata 'logit_scale' must be a positive number"),
    ({"logit_scale": "high"}, "metadata 'logit_scale' must be a positive number"),
    ({"logit_scale": "nan"}, "metadata 'logit_scale' must be a positive number"),
    ({"logit_scale": "-1"}, "metadata 'logit_scale' must be a positive number"),
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


@pytest.mark.parametrize(("change", "message"), DAMAGED_METADATA)
def test_bad_metadata_is_named(path, change, message):
    assert_refused(rewrite(path, change_metadata=change), message)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ('["photo"]', "'text/domain' describes 3 domains, and metadata 'described_domains' names 1"),
        ('["photo", "neon", "neon"]', "metadata 'described_domains' holds a name twice"),
        ("photo", "metadata 'described_domains' must be a JSON list of strings"),
    ],
)
def test_bad_names_of_described_domains_are_told(path, described, message):
    rewrite(path, lambda t: {"text/domain": torch.ones(3, 5, 16)}, {"described_domains": described})
    assert_refused(path, message)


def test_a_missing_file_is_named_with_its_key(tmp_path):
    assert_refused(tmp_path / "no.safetensors", "DATASET.ROOT")
    assert_refused(tmp_path, "no embedding file")


@pytest.mark.parametrize("content", [b"not a safetensors file at all", b"\xff" * 64, 0.999, 0.5, 0.05, 0])
def test_other_and_truncated_files_are_no_safetensors(path, content):
    whole = path.read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[: int(len(whole) * content)])
    assert_refused(path, "is damaged or no safetensors file")


def test_writing_where_it_cannot_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "set.safetensors", tmp_path / f"{250 * 'x'}.s"):
        with pytest.raises(InputError, match="cannot write"):
            write_embedding_file(path, shifted_embeddings())
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_keeps_the_old_file(path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr("lare_dassl.io.tensors.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        write_embedding_file(path, shifted_embeddings())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_reading_gives_unit_rows_even_from_half_precision(tmp_path):
    stored = shifted_embeddings()
    write_embedding_file(tmp_path / "half.safetensors", stored, torch.float16)
    back = read_embedding_file(tmp_path / "half.safetensors")
    assert back.test.embedding.dtype == torch.float32
    torch.testing.assert_close(back.test.embedding, F.normalize(stored.test.embedding.half().float(), dim=-1))
