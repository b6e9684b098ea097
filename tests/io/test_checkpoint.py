from __future__ import annotations

import re
import zipfile

import pytest
import torch
from torch import nn

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint

STATE = {
    "state_dict": {"weight": torch.arange(6.0).reshape(2, 3).T, "mask": torch.tensor([True, False])},
    "epoch": 3,
    "best_result": float("-inf"),
    "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    "scheduler": None,
}


def test_a_state_comes_back_as_it_was_written_also_between_hosts(tmp_path):
    checkpoint.write(STATE, tmp_path / "ours", "model.pth.tar-3")
    path = checkpoint.latest(tmp_path / "ours")
    assert str(checkpoint.read(path)) == str(STATE)
    # Dassl reads the first line, and uses torch.load; it writes the same without checksums.
    lines = (tmp_path / "ours" / "checkpoint").read_text().splitlines()
    assert lines[0] == "model.pth.tar-3" and len(lines) == 2
    raw = torch.load(path, weights_only=True)
    assert set(raw) == {*STATE, "sha256"} and raw["epoch"] == 3
    torch.save(STATE, tmp_path / "model.pth.tar-3")
    (tmp_path / "checkpoint").write_text("model.pth.tar-3\n")
    assert str(checkpoint.read(checkpoint.latest(tmp_path))) == str(STATE)


@pytest.mark.parametrize(
    "changed",
    [{"epoch": 4}, {"epoch": 3.0}, {"scheduler": {}}, {"state_dict": {}}, {"best_result": float("inf")}, {"more": 1}],
)
def test_another_content_does_not_match(tmp_path, changed):
    checkpoint.write(STATE, tmp_path, "whole")
    digest = torch.load(tmp_path / "whole", weights_only=True)["sha256"]
    torch.save(STATE | changed | {"sha256": digest}, tmp_path / "changed")
    message = f"the checkpoint '{tmp_path / 'changed'}' is damaged (its content does not match its sha256)"
    with pytest.raises(InputError, match=re.escape(message)):
        checkpoint.read(tmp_path / "changed")


def test_a_tensor_that_the_directory_calls_a_folder_is_refused(tmp_path):
    """torch would give whatever lies in memory for it, and no checksum of the zip would tell."""
    checkpoint.write(STATE, tmp_path, "model.pth.tar-3")
    path = tmp_path / "model.pth.tar-3"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.start_dir
    entry = content.rfind(b"PK\x01\x02", start, content.index(b"/data/0PK", start))
    content[entry + 38] ^= 0x10
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
    with pytest.raises(InputError, match="it has compressed parts or folders, as torch writes none"):
        checkpoint.read(path)


def test_what_a_checkpoint_lacks_is_named(tmp_path):
    checkpoint.check_holds(tmp_path, STATE, ["epoch"])
    message = f"the checkpoint '{tmp_path}' has no 'seed', which this version writes: delete it"
    with pytest.raises(InputError, match=re.escape(message)):
        checkpoint.check_holds(tmp_path, STATE, ["epoch", "seed", "run"])
    with pytest.raises(InputError, match="has no 'state_dict'"):
        checkpoint.load_weights(nn.Linear(2, 2), {}, tmp_path)


@pytest.mark.parametrize("state_dict", [{3: torch.zeros(2)}, {"weight": "x", "bias": 1}, [1], None])
def test_weights_that_are_none_are_refused(tmp_path, state_dict):
    with pytest.raises(InputError, match="is of another model"):
        checkpoint.load_weights(nn.Linear(2, 2), {"state_dict": state_dict}, tmp_path)


def test_a_damaged_name_of_the_latest_checkpoint_is_told(tmp_path):
    checkpoint.write(STATE, tmp_path, "model.pth.tar-3")
    checkpoint.write(STATE, tmp_path, "model.pth.tar-4")
    pointer = tmp_path / "checkpoint"
    text = pointer.read_text()
    for damaged in (text.replace("tar-4", "tar-3"), "model.pth.tar-3", "", "\n", text[:-1] + "0\n", f"\x1b{text}"):
        pointer.write_text(damaged)
        with pytest.raises(InputError, match=re.escape(f"{pointer} is damaged: write the name of")):
            checkpoint.latest(tmp_path)
