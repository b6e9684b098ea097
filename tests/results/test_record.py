from __future__ import annotations

import json
import platform
import re

import pytest
import torch
from pydantic import ValidationError

from lare_dassl.errors import InputError
from lare_dassl.host import door
from lare_dassl.io.json_files import sealed
from lare_dassl.results.record import (
    Metrics,
    OtherFormatError,
    check_file,
    make_record,
    read_record,
    write_record,
)
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
VLM = {"model": "ViT-B-32", "pretrained": "openai", "weights_sha256": "0123abcd", "precision": "bf16"}


def made(vlm=None, **changes):
    keys = {"DATASET__NAME": "EmbeddingFile", "DATASET__NUM_SHOTS": 4, "DATASET__LONG_TAIL__RATIO": 2.5}
    fields = {
        "source_domains": ("photo",),
        "target_domains": ("painting", "sketch"),
        "samples": {"train": 40, "val": 20, "test": 60},
        "split_sha256": "4567",
        "results": RESULTS,
        "seconds": {"stage1": 1.5, "total": 2.0},
        "files": {"predictions.safetensors": "89ab"},
        "chosen": {"K": 0.5},
    }
    return make_record(
        make_cfg(TRAINER__NAME="LARE", SEED=7, **keys), vlm or shifted_embeddings().vlm, **fields | changes
    )


@pytest.fixture(scope="module")
def record():
    return made()


@pytest.fixture
def content(tmp_path, record):
    """The content of its file but for the checksum, which older versions did not write."""
    return without_seal(json.loads(write_record(tmp_path, record).read_text()))


def without_seal(content):
    return {key: value for key, value in content.items() if key != "sha256"}


def test_figures_by_domain_get_a_dictionary_of_their_own_and_those_that_do_not_apply_are_none():
    metrics = Metrics.of(RESULTS)
    assert metrics.domain_accuracy == {"photo": 80.0, "pop/art": 52.5}
    assert metrics.flat() == {name: value for name, value in RESULTS.items() if name != "error_rate"}
    few = Metrics.of({"accuracy": 50.0})
    assert few.in_domain_accuracy is few.ece is None and few.domain_accuracy == {}


def test_the_file_says_what_ran_and_on_what(content):
    fixed = {
        "format": "record/1", "trainer": "LARE", "dataset": "EmbeddingFile", "seed": 7, "shots": 4, "imbalance": 2.5,
        "host": door.HOST, "vlm": VLM | {"embedding_dim": 16}, "source_domains": ["photo"],
        "target_domains": ["painting", "sketch"], "split": "test", "split_sha256": "4567",
        "files": {"predictions.safetensors": "89ab"}, "samples": {"train": 40, "val": 20, "test": 60},
        "skipped": {"train": 0, "val": 0, "test": 0}, "duplicates": None, "chosen": {"K": 0.5},
        "metrics": {
            "accuracy": 61.23456789, "in_domain_accuracy": 80.0, "out_of_domain_accuracy": 52.5, "macro_f1": 60.0,
            "ece": 3.25, "domain_accuracy": {"photo": 80.0, "pop/art": 52.5},
        },
        "seconds": {"encode": 0.0, "stage1": 1.5, "stage2": 0.0, "test": 0.0, "total": 2.0},
    }  # fmt: skip
    assert list(content) == [*fixed, "versions", "machine", "config"]
    assert json.dumps({name: content[name] for name in fixed}) == json.dumps(fixed)
    assert content["versions"]["torch"].startswith("2.") and content["versions"]["dassl"] == door.HOST_VERSION
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    machine = {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "gpu": content["machine"]["gpu"],
        "together": 1,
    }
    assert list(content["machine"].items()) == list(machine.items())
    assert bool(machine["gpu"]) == torch.cuda.is_available()
    assert content["config"]["DATASET"]["NUM_SHOTS"] == 4


def test_a_record_comes_back_in_full_precision(tmp_path, record):
    path = write_record(tmp_path / "run", record)
    assert path == tmp_path / "run" / "record.json"
    assert read_record(path) == record
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 8


def test_the_checksum_is_that_of_the_content_whatever_its_order(tmp_path, record, content):
    written = json.loads((tmp_path / "record.json").read_text())
    assert list(written)[-1] == "sha256"
    assert written["sha256"] == sealed(dict(reversed(content.items())))["sha256"]


@pytest.mark.parametrize(
    ("there", "changed"), [("61.23456789", "61.33456789"), ('"seed": 7', '"seed": 1'), ("LARE", "LADS")]
)
def test_a_changed_digit_or_word_is_found(tmp_path, record, there, changed):
    path = write_record(tmp_path, record)
    path.write_text(path.read_text().replace(there, changed, 1))
    message = f"cannot read the record {path}: it is damaged: its content does not match its sha256"
    with pytest.raises(InputError, match=re.escape(message)):
        read_record(path)


def test_records_of_earlier_versions_are_read(tmp_path, record, content):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    assert read_record(path) == record
    for name in ("files", "skipped", "duplicates", "machine"):
        del content[name]
    path.write_text(json.dumps(content | {"vlm": {"model": "ViT-B-32"}}))
    early = read_record(path)
    assert (early.files, early.skipped, early.duplicates, early.machine) == ({}, None, None, None)
    assert early.weights is None and early.metrics == record.metrics


def test_a_model_of_which_the_name_alone_is_known_has_no_weights(tmp_path):
    path = write_record(tmp_path, made(vlm="RN50"))
    assert json.loads(path.read_text())["vlm"] == dict.fromkeys(VLM, None) | {"model": "RN50", "embedding_dim": None}
    assert read_record(path).weights is None


def test_numbers_that_json_does_not_know_are_texts_in_a_record(tmp_path, record):
    endless = record.model_copy(update={"config": {"OPTIM": {"LR": float("inf")}}})
    assert read_record(write_record(tmp_path, endless)).settings == {"OPTIM.LR": "inf"}
    path = write_record(tmp_path, made(results={"ece": float("nan")}))
    with pytest.raises(InputError, match=re.escape(f"{path} holds no usable 'metrics.ece'")):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the record {}: "),
        (b"", "cannot read the record {}: "),
        (b'{"format": "record/1"', "cannot read the record {}: "),
        (b'{"format": "\xff"}', "cannot read the record {}: "),
        (b"[]", "cannot read the record {}: it is no JSON object"),
        (b"[" * 100_000, "cannot read the record {}: it is nested too deeply"),
        (b'{"format": "record/1", "format": "record/1"}', "cannot read the record {}: 'format' is in it twice"),
        (b'{"format": "record/1", "seed": NaN}', "cannot read the record {}: NaN is no number of JSON"),
        (b'{"format": "record/1", "seed": 1e999}', "cannot read the record {}: 1e999 is too large a number"),
        (b'{"format": "record/1", "seed": ' + b"9" * 5000 + b"}", "cannot read the record {}: Exceeds the limit"),
        (b"{}", "{} is no record of the format record/1"),
    ],
)
def test_a_file_that_is_no_record_is_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(InputError, match="^" + re.escape(message.format(path)) + ".*$"):
        read_record(path)


def test_a_record_of_a_later_format_is_an_error_of_its_own(tmp_path):
    (tmp_path / "record.json").write_text('{"format": "record/2"}')
    with pytest.raises(OtherFormatError, match="of the format record/2, not record/1: another version wrote it"):
        read_record(tmp_path / "record.json")


REQUIRED = ("trainer", "dataset", "seed", "shots", "imbalance", "host", "vlm", "source_domains", "target_domains",
            "split", "split_sha256", "samples", "chosen", "metrics", "seconds", "versions", "config")  # fmt: skip


@pytest.mark.parametrize("field", REQUIRED)
@pytest.mark.parametrize("value", [None, True])
def test_a_record_that_lacks_a_field_is_named(tmp_path, content, field, value):
    assert_no_usable(tmp_path, content | {field: value}, field)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("metrics", {"accuracy": "60", "domain_accuracy": {}}, "metrics.accuracy"),
        ("metrics", {"domain_accuracy": 5}, "metrics.domain_accuracy"),
        ("metrics", {"domain_accuracy": {"photo\n": True}}, r"metrics.domain_accuracy.photo\n"),
        ("skipped", {"train": 0.5}, "skipped.train"),
        ("duplicates", {"train/val": "1"}, "duplicates.train/val"),
        ("target_domains", "sketch", "target_domains"),
        ("machine", {"processor": "x86"}, "machine.threads"),
    ],
)
def test_a_part_of_another_type_is_named(tmp_path, content, field, value, named):
    assert_no_usable(tmp_path, content | {field: value}, named)


def assert_no_usable(folder, content, named):
    path = folder / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_record(path)
    assert str(error.value) == f"{path} holds no usable '{named}'"


def test_a_file_that_is_not_the_one_of_its_record_is_refused(tmp_path, record):
    check_file(tmp_path, "predictions.safetensors", "0123")
    write_record(tmp_path, record)
    check_file(tmp_path, "predictions.safetensors", "89ab")
    check_file(tmp_path, "classifier.safetensors", "0123")
    with pytest.raises(InputError, match=r"it is not the predictions\.safetensors that the record\.json beside it"):
        check_file(tmp_path, "predictions.safetensors", "0123")


def test_a_folder_that_cannot_be_written_is_named(tmp_path, record):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/record\.json"):
        write_record(tmp_path / "file", record)
