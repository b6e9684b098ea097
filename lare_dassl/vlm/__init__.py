"""The frozen vision-language model, and the only room that names open_clip.

`resolve` finds the model and weights that are asked for, without loading them; `load` gives a FrozenVLM.
"""

from .frozen import FrozenVLM
from .loading import build_untrained, load, tokenizer_of
from .names import DEMO_FOLDER, DEMO_MODEL, check_names
from .openclip import open_clip
from .precision import available_device, low_precision_agrees, resolve_precision
from .preprocessing import split_preprocess
from .resolving import resolve
from .source import VLMSource
from .text_encoder import TextEncoder

__all__ = [
    "DEMO_FOLDER",
    "DEMO_MODEL",
    "FrozenVLM",
    "TextEncoder",
    "VLMSource",
    "available_device",
    "build_untrained",
    "check_names",
    "load",
    "low_precision_agrees",
    "open_clip",
    "resolve",
    "resolve_precision",
    "split_preprocess",
    "tokenizer_of",
]
