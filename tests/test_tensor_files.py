from __future__ import annotations

import re

import pytest
import torch
from safetensors import SafetensorError

from lare_dassl import tensor_files
from lare_dassl.errors import InputError
from lare_dassl.leftovers import OWNER
from lare_dassl.tensor_files import check_format, json_list, read_tensors, write_tensors


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {"whole": torch.arange(6), "part": torch.rand(4, 6).T}
    write_tensors(tmp_path / "new" / "file.safetensors", tensors, {"format": "x/1"})
    back, metadata = read_tensors(tmp_path / "new" / "file.safetensors")
    assert metadata == {"format": "x/1"}
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_others_may_read_it_as_any_other_file(tmp_path):
    (tmp_path / "plain").touch()
    write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "file.safetensors")}
    assert len(modes) == 1


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(InputError, match=re.escape(f"there is no file {path}")):
        read_tensors(path)
    write_tensors(path, {"a": torch.rand(100)}, {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=re.escape(f"{path} is damaged or no safetensors file: ")):
        read_tensors(path)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*plain/file\.safetensors"):
        write_tensors(tmp_path / "plain" / "file.safetensors", {"a": torch.rand(2)}, {})


def test_another_format_is_refused():
    check_format({"format": "x/1"}, "x/1")
    with pytest.raises(InputError, match=r"metadata 'format' must be 'x/1', not 'None'"):
        check_format({}, "x/1")


@pytest.mark.parametrize("text", ["", "{}", '"cat"', '["cat", 3]', "[cat]", None])
def test_a_list_that_is_none_is_refused(text):
    metadata = {} if text is None else {"names": text}
    with pytest.raises(InputError, match="metadata 'names' must be a JSON list of strings"):
        json_list(metadata, "names")


def test_a_full_disk_is_told_as_the_system_tells_it(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    told = r"^cannot write .*file\.safetensors: No space left on device: make room there"
    with pytest.raises(InputError, match=told):
        write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    assert list(tmp_path.iterdir()) == []


def test_safetensors_own_temporary_file_lies_where_a_later_start_removes_it(tmp_path, monkeypatch):
    places = []
    save_file = tensor_files.save_file

    def saved(tensors, path, metadata):
        places.append(path.parent)
        save_file(tensors, path, metadata)

    monkeypatch.setattr(tensor_files, "save_file", saved)
    write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    (place,) = places
    assert place.parent == tmp_path and OWNER.search(place.name)
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]
