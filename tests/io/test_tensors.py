from __future__ import annotations

import re

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lare_dassl.errors import InputError
from lare_dassl.io import tensors
from lare_dassl.io.leftovers import OWNER
from lare_dassl.io.tensors import content_sha256, json_list, read_tensors, write_tensors


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {"whole": torch.arange(6), "part": torch.rand(4, 6).T}
    write_tensors(tmp_path / "new" / "file.safetensors", tensors, {"format": "x/1"})
    back, metadata = read_tensors(tmp_path / "new" / "file.safetensors", "x/1", "run again")
    assert metadata == {"format": "x/1", "sha256": content_sha256(back, metadata)}
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_tensors_that_share_memory_come_back(tmp_path):
    whole = torch.arange(10)
    tensors = {"whole": whole, "same": whole, "end": whole[5:], "start": whole[:5]}
    write_tensors(tmp_path / "file.safetensors", tensors, {"format": "x/1"})
    back, _ = read_tensors(tmp_path / "file.safetensors", "x/1", "run again")
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_the_same_content_gives_the_same_bytes_whatever_the_order_it_comes_in(tmp_path):
    """safetensors draws the order of metadata anew for every file."""
    metadata = {name: f'{name} \u00f6\n"\u6f22"\x1f' for name in "abcdefghij"} | {"format": "x/1"}
    tensors = {"b": torch.arange(3), "a": torch.rand(2, 2)}
    write_tensors(tmp_path / "0", tensors, metadata)
    for number in range(1, 4):
        write_tensors(tmp_path / str(number), dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert len({(tmp_path / str(number)).read_bytes() for number in range(4)}) == 1
    back, found = read_tensors(tmp_path / "0", "x/1", "run again")
    assert found == metadata | {"sha256": found["sha256"]}
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_others_may_read_it_as_any_other_file(tmp_path):
    (tmp_path / "plain").touch()
    write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "file.safetensors")}
    assert len(modes) == 1


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(InputError, match=re.escape(f"there is no file {path}")):
        read_tensors(path, "x/1", "run again")
    write_tensors(path, {"a": torch.rand(100)}, {"format": "x/1"})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged or no safetensors file: ")):
        read_tensors(path, "x/1", "run again")


def test_a_changed_bit_or_word_is_found_and_a_file_without_checksum_is_taken(tmp_path):
    path = tmp_path / "file.safetensors"
    digest = write_tensors(path, {"a": torch.rand(9), "b": torch.arange(3)}, {"format": "x/1", "by": "made"})
    whole = path.read_bytes()
    for changed in (
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole.replace(b"made", b"mode"),
        whole.replace(b'"a"', b'"c"'),
    ):
        path.write_bytes(changed)
        message = f"{path} is damaged: its content does not match the sha256 in its metadata: run again"
        with pytest.raises(InputError, match=re.escape(message)):
            read_tensors(path, "x/1", "run again")
    path.write_bytes(whole)
    tensors, metadata = read_tensors(path, "x/1", "run again")
    assert metadata.pop("sha256") == digest
    save_file(tensors | {"a": torch.zeros(9)}, path, metadata)
    assert torch.equal(read_tensors(path, "x/1", "run again")[0]["a"], torch.zeros(9))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*plain/file\.safetensors"):
        write_tensors(tmp_path / "plain" / "file.safetensors", {"a": torch.rand(2)}, {})


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("I/O error: No space left on device", "I/O error: No space left on device$"),
        ("I/O error: No space left on device (os error 28)", "No space left on device: make room there"),
    ],
)
def test_an_error_of_safetensors_itself_is_one_line(tmp_path, monkeypatch, raised, said):
    def fail(*_):
        raise SafetensorError(raised)

    monkeypatch.setattr(tensors, "save_file", fail)
    with pytest.raises(InputError, match=f"^cannot write {tmp_path}/a.safetensors: {said}"):
        write_tensors(tmp_path / "a.safetensors", {"a": torch.rand(2)}, {})
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    for metadata, told in (({}, "None"), ({"format": "x/2"}, "x/2")):
        write_tensors(path, {"a": torch.rand(2)}, metadata)
        message = f"{path}: metadata 'format' must be 'x/1', not '{told}'"
        with pytest.raises(InputError, match=re.escape(message)):
            read_tensors(path, "x/1", "run again")


@pytest.mark.parametrize("text", ["", "{}", '"cat"', '["cat", 3]', "[cat]", None])
def test_a_list_that_is_none_is_refused(text):
    metadata = {} if text is None else {"names": text}
    with pytest.raises(InputError, match="metadata 'names' must be a JSON list of strings"):
        json_list(metadata, "names")


def test_safetensors_own_temporary_file_lies_where_a_later_start_removes_it(tmp_path, monkeypatch):
    places = []
    save_file = tensors.save_file

    def saved(tensors, path, metadata):
        places.append(path.parent)
        save_file(tensors, path, metadata)

    monkeypatch.setattr(tensors, "save_file", saved)
    write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    (place,) = places
    assert place.parent == tmp_path and OWNER.search(place.name)
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]
