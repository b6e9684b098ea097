from __future__ import annotations

import re
from unittest import mock

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lare_dassl.errors import InputError
from lare_dassl.io import tensors
from lare_dassl.io.leftovers import OWNER
from lare_dassl.io.tensors import content_sha256, json_list, read_tensors, write_tensors
from tests.helpers import flip_bit

WHOLE = torch.arange(10)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "file.safetensors"


@pytest.mark.parametrize(
    "content",
    [
        {"whole": torch.arange(6), "part": torch.rand(4, 6).T},
        {"whole": WHOLE, "same": WHOLE, "end": WHOLE[5:], "start": WHOLE[:5]},
    ],
)
def test_a_content_comes_back_and_gives_the_same_bytes_each_time(path, content):
    """Whatever the order that it comes in; safetensors draws the order of metadata anew for every file."""
    metadata = {name: f'{name} \u00f6\n"\u6f22"\x1f' for name in "abcdefghij"} | {"format": "x/1"}
    digest = write_tensors(path, content, metadata)
    written = path.read_bytes()
    back, found = read_tensors(path, "x/1", "run again")
    assert found == metadata | {"sha256": digest}
    assert digest == content_sha256(back, found)
    assert back.keys() == content.keys()
    assert all(torch.equal(back[key], tensor) for key, tensor in content.items())
    for _ in range(3):
        write_tensors(path, dict(reversed(content.items())), dict(reversed(metadata.items())))
        assert path.read_bytes() == written


def test_a_file_is_made_as_any_other_by_way_of_a_temporary_folder(tmp_path, monkeypatch):
    """Others may read it, and a later start removes what safetensors itself leaves half-written."""
    places, save_file = [], tensors.save_file
    monkeypatch.setattr(tensors, "save_file", lambda *words: places.append(words[1].parent) or save_file(*words))
    write_tensors(tmp_path / "file.safetensors", {"a": torch.rand(2)}, {})
    (place,) = places
    assert place.parent == tmp_path and OWNER.search(place.name)
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]
    (tmp_path / "plain").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_what_cannot_be_read_is_named(path):
    def assert_refused(message):
        with pytest.raises(InputError, match=re.escape(message)):
            read_tensors(path, "x/1", "run again")

    assert_refused(f"there is no file {path}")
    write_tensors(path, {"a": torch.rand(100)}, {})
    assert_refused(f"{path}: metadata 'format' must be 'x/1', not 'None'")
    write_tensors(path, {"a": torch.rand(100), "b": torch.arange(3)}, {"format": "x/1", "by": "made"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert_refused(f"{path} is damaged or no safetensors file: ")
    for changed in (flip_bit(whole), whole.replace(b"made", b"mode"), whole.replace(b'"a"', b'"c"')):
        path.write_bytes(changed)
        assert_refused(f"{path} is damaged: its content does not match the sha256 in its metadata: run again")


def test_a_file_without_a_checksum_is_taken(tmp_path):
    save_file({"a": torch.zeros(9)}, tmp_path / "file", {"format": "x/1"})
    assert torch.equal(read_tensors(tmp_path / "file", "x/1", "run again")[0]["a"], torch.zeros(9))


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("I/O error: No space left on device", "I/O error: No space left on device$"),
        ("I/O error: No space left on device (os error 28)", "No space left on device: make room there"),
    ],
)
def test_an_error_of_safetensors_itself_is_one_line(path, raised, said):
    failing = mock.patch.object(tensors, "save_file", side_effect=SafetensorError(raised))
    with failing, pytest.raises(InputError, match=f"^cannot write {path}: {said}"):
        write_tensors(path, {"a": torch.rand(2)}, {})
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", '"cat"', '["cat", 3]', "[cat]", None])
def test_a_list_that_is_none_is_refused(text):
    metadata = {} if text is None else {"names": text}
    with pytest.raises(InputError, match="metadata 'names' must be a JSON list of strings"):
        json_list(metadata, "names")
