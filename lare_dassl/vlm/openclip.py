"""open_clip, imported once torchvision can be: the other modules take it from here."""

from __future__ import annotations

from lare_dassl.system.torchvision_mend import mend

mend()
import open_clip  # noqa: E402
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME  # noqa: E402
from open_clip.factory import LOCAL_DIR_PREFIX, parse_model_name  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402

__all__ = [
    "HF_SAFE_WEIGHTS_NAME",
    "HF_WEIGHTS_NAME",
    "LOCAL_DIR_PREFIX",
    "PreprocessCfg",
    "image_transform_v2",
    "open_clip",
    "parse_model_name",
]
