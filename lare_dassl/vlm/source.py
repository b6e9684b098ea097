"""A frozen model's source: its architecture, weights and preprocessing, found but not loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Version of the reading of image files (embeddings/encoder/image_files.py); another number encodes all images again.
READING = 2


@dataclass(frozen=True)
class VLMSource:
    """A model and its weights, found but not loaded.

    Attributes:
        model: the user's name of the model.
        open_clip_name: open_clip's name of it.
        pretrained: tag or path of the weights as the user gave it; "" for a model folder.
        weights: the weights file on this machine; None for random weights.
        architecture: open_clip's model configuration.
        preprocess: image size, mean, std and interpolation that belong to the weights.
    """

    model: str
    open_clip_name: str
    pretrained: str
    weights: Path | None
    architecture: dict[str, Any] = field(repr=False)
    preprocess: dict[str, Any] = field(repr=False)

    def fingerprint(self, weights_sha256: str, precision: str) -> str:
        """A hash of everything that an embedding depends on except the image."""
        parts = [weights_sha256, self.architecture, self.preprocess, precision, READING]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
