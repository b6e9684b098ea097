from __future__ import annotations

import re

import pytest
import torch
from safetensors import SafetensorError

from lare_dassl import tensor_files
from lare_dassl.errors import InputError
from lare_dassl.tensor_files import check_format, json_list, read_tensors, write_tensors


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {"whole": torch.arange(6), "part": torch.rand(4, 6).T}
    write_tensors(tmp_path / "new" / "file.safetensors", tensors, {"format": "x/1"})
    back, metadata = read_tensors(tmp_path / "new" / "file.safetensors")
    assert metadata == {"format": "x/1"}
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_the_same_content_gives_the_same_bytes_whatever_the_order_it_comes_in(tmp_path):
    """safetensors draws the order of metadata anew for every file."""
    metadata = {name: f'{name} \u00f6\n"\u6f22"\x1f' for name in "abcdefghij"}
    tensors = {"b": torch.arange(3), "a": torch.rand(2, 2)}
    write_tensors(tmp_path / "0", tensors, metadata)
    for number in range(1, 4):
        write_tensors(tmp_path / str(number), dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert len({(tmp_path / str(number)).read_bytes() for number in range(4)}) == 1
    back, found = read_tensors(tmp_path / "0")
    assert found == metadata
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


def test_what_safetensors_itself_cannot_write_is_one_line_too(tmp_path, monkeypatch):
    def fail(*_):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", fail)
    with pytest.raises(InputError) as error:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.rand(2)}, {})
    assert str(error.value) == f"cannot write {tmp_path}/a.safetensors: I/O error: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_refused():
    check_format({"format": "x/1"}, "x/1")
    with pytest.raises(InputError, match=r"metadata 'format' must be 'x/1', not 'None'"):
        check_format({}, "x/1")


@pytest.mark.parametrize("text", ["", "{}", '"cat"', '["cat", 3]', "[cat]", None])
def test_a_list_that_is_none_is_refused(text):
    metadata = {} if text is None else {"names": text}
    with pytest.raises(InputError, match="metadata 'names' must be a JSON list of strings"):
        json_list(metadata, "names")
