"""What a run leaves that must be the same whenever it is run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lare_dassl.io import checkpoint

# Times, places and the machine are no two runs' the same; the settings hold the places, and the checksum covers all.
FREE_IN_RECORDS = {"seconds", "config", "versions", "machine", "host", "sha256"}
FILES = ("classifier.safetensors", "predictions.safetensors", "split.json")


def left_by(folder: Path) -> dict[str, Any]:
    """Everything of a run that must not change, by name: the figures of its record, the content of its files, weights.

    Files are compared by their bytes, checkpoints by those of their tensors: what else they hold are times.
    """
    record = json.loads((folder / "record.json").read_text())
    left: dict[str, Any] = {key: value for key, value in record.items() if key not in FREE_IN_RECORDS}
    left |= {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
    for stage in ("model", "regions", "augmentation"):
        path = checkpoint.latest(folder / stage)
        if path is not None:
            weights = checkpoint.read(path)["state_dict"]
            left |= {f"{stage}/{name}": tensor.numpy().tobytes() for name, tensor in weights.items()}
    return left


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs; no bytes go into the message of a failed test."""
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
