from __future__ import annotations

import json
import platform
import re

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.host import door
from lare_dassl.results.record import FIELDS, check_file, make_record, nest_metrics, read_record, write_record
from tests.helpers import make_cfg, shifted_embeddings

RESULTS = {
    "accuracy": 61.23456789,
    "error_rate": 38.76543211,
    "macro_f1": 60.0,
    "ece": 3.25,
    "in_domain_accuracy": 80.0,
    "out_of_domain_accuracy": 52.5,
    "domain_accuracy/photo": 80.0,
    "domain_accuracy/pop/art": 52.5,
}


@pytest.fixture
def record():
    keys = {"DATASET__NAME": "EmbeddingFile", "DATASET__NUM_SHOTS": 4, "DATASET__LONG_TAIL__RATIO": 2.5}
    return make_record(
        make_cfg(TRAINER__NAME="LARE", SEED=7, **keys),
        shifted_embeddings().vlm,
        source_domains=("photo",),
        target_domains=("painting", "sketch"),
        samples={"train": 40, "val": 20, "test": 60},
        split_sha256="4567",
        results=RESULTS,
        seconds={"stage1": 1.5, "total": 2.0},
        files={"predictions.safetensors": "89ab"},
        chosen={"K": 0.5},
    )


def test_figures_by_domain_get_a_dictionary_of_their_own():
    assert nest_metrics(RESULTS) == {
        "accuracy": 61.23456789,
        "in_domain_accuracy": 80.0,
        "out_of_domain_accuracy": 52.5,
        "domain_accuracy": {"photo": 80.0, "pop/art": 52.5},
        "macro_f1": 60.0,
        "ece": 3.25,
    }


def test_figures_that_do_not_apply_are_none():
    metrics = nest_metrics({"accuracy": 50.0, "macro_f1": 49.0, "ece": 1.0})
    assert metrics["in_domain_accuracy"] is metrics["out_of_domain_accuracy"] is None
    assert metrics["domain_accuracy"] == {}


def test_a_record_says_what_ran_and_on_what(record):
    assert list(record) == [
        "format", "trainer", "dataset", "seed", "shots", "imbalance", "host", "vlm", "source_domains",
        "target_domains", "split", "split_sha256", "files", "samples", "skipped", "duplicates", "chosen", "metrics",
        "seconds", "versions", "machine", "config",
    ]  # fmt: skip
    assert (record["format"], record["trainer"], record["dataset"]) == ("record/1", "LARE", "EmbeddingFile")
    assert (record["seed"], record["shots"], record["imbalance"]) == (7, 4, 2.5)
    assert record["host"] == door.HOST
    assert record["vlm"] == {
        "model": "ViT-B-32",
        "pretrained": "openai",
        "weights_sha256": "0123abcd",
        "precision": "bf16",
        "embedding_dim": 16,
    }
    assert (record["split_sha256"], record["chosen"]) == ("4567", {"K": 0.5})
    assert record["files"] == {"predictions.safetensors": "89ab"}
    assert (record["source_domains"], record["target_domains"]) == (["photo"], ["painting", "sketch"])
    assert record["samples"] == {"train": 40, "val": 20, "test": 60}
    assert record["metrics"] == nest_metrics(RESULTS)
    assert record["seconds"] == {"encode": 0.0, "stage1": 1.5, "stage2": 0.0, "test": 0.0, "total": 2.0}
    assert record["versions"]["torch"].startswith("2.")
    assert record["versions"]["dassl"] == door.HOST_VERSION
    machine = record["machine"]
    assert machine["processor"] == f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    assert machine["threads"] == torch.get_num_threads()
    assert bool(machine["gpu"]) == torch.cuda.is_available()
    assert record["config"]["DATASET"]["NUM_SHOTS"] == 4


def test_a_record_comes_back_in_full_precision(tmp_path, record):
    path = write_record(tmp_path / "run", record)
    assert path == tmp_path / "run" / "record.json"
    assert read_record(path) == record
    assert read_record(path)["metrics"]["accuracy"] == 61.23456789
    assert list(path.parent.iterdir()) == [path]


def test_a_changed_digit_or_word_is_found_and_a_record_of_older_versions_is_taken(tmp_path, record):
    path = write_record(tmp_path, record)
    written = path.read_text()
    for there, changed in (
        ("61.23456789", "61.33456789"),
        ('"seed": 7', '"seed": 1'),
        ("4567", "4568"),
        ("LARE", "LADS"),
    ):
        path.write_text(written.replace(there, changed, 1))
        message = f"cannot read the record {path}: it is damaged: its content does not match its sha256"
        with pytest.raises(InputError, match=re.escape(message)):
            read_record(path)
    path.write_text(json.dumps(record))
    assert read_record(path) == record


def test_numbers_that_json_does_not_know_are_texts_in_a_record(tmp_path, record):
    record["config"]["OPTIM"]["LR"] = float("inf")
    path = write_record(tmp_path, record)
    assert read_record(path)["config"]["OPTIM"]["LR"] == "inf"
    record["metrics"]["ece"] = float("nan")
    with pytest.raises(InputError, match=re.escape(f"{path} holds 'metrics' that are no numbers")):
        read_record(write_record(tmp_path, record))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ("[" * 90 + "]" * 90, "it is nested too deeply"),
        ('{"format": "record/1", "format": "record/1"}', "'format' is in it twice"),
        ('{"format": "record/1", "seed": NaN}', "NaN is no number of JSON"),
        ('{"format": "record/1", "seed": -Infinity}', "-Infinity is no number of JSON"),
        ('{"format": "record/1", "seed": 1e999}', "1e999 is too large a number"),
        ('{"format": "record/1", "seed": ' + "9" * 5000 + "}", "Exceeds the limit"),
    ],
)
def test_json_that_is_made_to_hurt_is_one_line(tmp_path, text, cause):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"cannot read the record {path}: ") + ".*" + re.escape(cause)):
        read_record(path)


def test_a_file_that_is_not_the_one_of_its_record_is_refused(tmp_path, record):
    check_file(tmp_path, "predictions.safetensors", "0123")
    write_record(tmp_path, record)
    check_file(tmp_path, "predictions.safetensors", "89ab")
    check_file(tmp_path, "classifier.safetensors", "0123")
    with pytest.raises(InputError, match=r"it is not the predictions\.safetensors that the record\.json beside it"):
        check_file(tmp_path, "predictions.safetensors", "0123")


def test_a_record_of_numbers_json_does_not_know_leaves_no_file(tmp_path, record):
    record["metrics"]["accuracy"] = object()
    with pytest.raises(TypeError):
        write_record(tmp_path, record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the record"),
        (b"", "cannot read the record"),
        (b'{"format": "record/1"', "cannot read the record"),
        (b'{"format": "\xff"}', "cannot read the record"),
        (b"[]", "is no record of the format record/1"),
        (b"{}", "is no record of the format record/1"),
        (b'{"format": "record/2"}', "is a record of the format record/2, not record/1: another version wrote it"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_record(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "metrics"])
@pytest.mark.parametrize("value", [None, True])
def test_a_record_that_lacks_a_field_is_named(tmp_path, record, field, value):
    path = write_record(tmp_path, record | {field: value})
    with pytest.raises(InputError, match=re.escape(f"{path} holds no usable '{field}'")):
        read_record(path)


@pytest.mark.parametrize("metrics", [{"accuracy": "60"}, {"domain_accuracy": 5}, {"domain_accuracy": {"photo": True}}])
def test_metrics_that_are_no_numbers_are_named(tmp_path, record, metrics):
    path = write_record(tmp_path, record | {"metrics": record["metrics"] | metrics})
    with pytest.raises(InputError, match=re.escape(f"{path} holds 'metrics' that are no numbers")):
        read_record(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, record):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/record\.json"):
        write_record(tmp_path / "file", record)


def test_a_record_is_plain_json(record):
    assert json.loads(json.dumps(record)) == record
