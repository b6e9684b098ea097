"""Every key that we add to Dassl's configuration, and the reading of configuration files and command-line overrides.

A key's default stands here, or in the settings class of its method where the method can be used without Dassl.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from .dassl_api import cfg_default, clean_cfg, get_cfg_default
from .errors import InputError, unknown_name
from .methods.linear import CLASSIFIER_INITS
from .methods.regions import PARAMETRISATIONS, RegionSettings

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
CHOICES = {
    "VLM.PRECISION": PRECISIONS,
    "CLASSIFIER.INIT": CLASSIFIER_INITS,
    "TRAINER.LARE.REGION": PARAMETRISATIONS,
    "TEST.FINAL_MODEL": ("last_step", "best_val"),
    "TEST.SPLIT": ("val", "test"),
}
# The least value of each number that could be set too low.
MINIMA = {
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.TRAIN_X.BATCH_SIZE": 1,
    "EMBEDDINGS.BATCH_SIZE": 1,
    "OPTIM.LR": 0,
    "OPTIM.MAX_EPOCH": 1,
    "OPTIM.WEIGHT_DECAY": 0,
    "TRAINER.LARE.LOGIT_SCALE": 0,
    "TRAINER.LARE.SAMPLES_PER_IMAGE": 0,
}


def extend(cfg: CfgNode) -> None:
    """Add our keys to a Dassl configuration, in place."""
    _extend_dataset(cfg)
    _extend_vlm(cfg)
    _extend_lare(cfg)
    _extend_coop(cfg)


def _extend_dataset(cfg: CfgNode) -> None:
    # Shares of a source domain's images kept for validation and for the in-domain test (DomainFolders, CUBPainting).
    cfg.DATASET.VAL_FRACTION = 0.1
    cfg.DATASET.TEST_FRACTION = 0.2
    # JSON file {"train": [...], "val": [...], "test": [...]} of image paths below DATASET.ROOT; "" splits by hash.
    cfg.DATASET.SPLIT_FILE = ""


def _extend_vlm(cfg: CfgNode) -> None:
    # The open_clip model is named by Dassl's own key MODEL.BACKBONE.NAME ("demo" is the model that ships with us).
    cfg.VLM = CfgNode()
    # open_clip's tag of the pretrained weights, or the path of a weights file.
    cfg.VLM.PRETRAINED = ""
    # Arithmetic of the encoder; auto is bf16 where the processor or GPU has it natively, else fp32.
    cfg.VLM.PRECISION = "auto"
    # Prompts of a class: each holds {} for the class name; their embeddings are averaged.
    cfg.VLM.TEMPLATES = ["a photo of a {}."]
    # Random weights give meaningless embeddings; they serve tests and timing alone and must be asked for.
    cfg.VLM.ALLOW_RANDOM = False

    cfg.EMBEDDINGS = CfgNode()
    # Folder of the embedding cache, shared by all runs; "" is ~/.cache/lare_dassl, or $LARE_DASSL_CACHE where set.
    cfg.EMBEDDINGS.CACHE_DIR = ""
    # Images per encoder call.
    cfg.EMBEDDINGS.BATCH_SIZE = 64

    cfg.CLASSIFIER = CfgNode()
    # Start of the linear classifier: "random" (the paper's) or "text" (the zero-shot classifier).
    cfg.CLASSIFIER.INIT = "random"


def _extend_lare(cfg: CfgNode) -> None:
    # Stage 1 of LARE, arXiv 2409.12597; each default and its meaning stands in RegionSettings. Stage 2 is set by OPTIM.
    defaults = RegionSettings()
    cfg.TRAINER.LARE = CfgNode()
    cfg.TRAINER.LARE.ALPHA = defaults.alpha
    cfg.TRAINER.LARE.REGION = defaults.parametrisation
    cfg.TRAINER.LARE.NORMALISE_CORNERS = defaults.normalise_corners
    cfg.TRAINER.LARE.HIDDEN_DIM = defaults.hidden_dim
    cfg.TRAINER.LARE.EPOCHS = defaults.epochs
    cfg.TRAINER.LARE.LR = defaults.lr
    cfg.TRAINER.LARE.WEIGHT_DECAY = defaults.weight_decay
    cfg.TRAINER.LARE.BATCH_SIZE = defaults.batch_size
    # Regional samples of each real embedding in a batch of stage 2.
    cfg.TRAINER.LARE.SAMPLES_PER_IMAGE = 1
    # Inverse temperature of the class consistency losses; 0 takes the VLM's own.
    cfg.TRAINER.LARE.LOGIT_SCALE = 0.0


def _extend_coop(cfg: CfgNode) -> None:
    # The keys that CoOp's own train.py declares, with its defaults, so that its trainers run from our tools.
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.TRAINER.COOP = CfgNode({"N_CTX": 16, "CSC": False, "CTX_INIT": "", "PREC": "fp16"})
    cfg.TRAINER.COOP.CLASS_TOKEN_POSITION = "end"
    cfg.TRAINER.COCOOP = CfgNode({"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"})


def register() -> None:
    """Add our keys to the host's default configuration, so that any tool's get_cfg_default() has them."""
    if "VLM" not in cfg_default:
        extend(cfg_default)


def use_linear_probe_defaults(cfg: CfgNode) -> None:
    """Set what suits a linear classifier on embeddings; Dassl's own defaults are for networks on images.

    docs/lare.md shows how the values were chosen. Our tools call this for our trainers; in another train.py, its
    extend_cfg is the place.
    """
    cfg.OPTIM.NAME = "adamw"
    cfg.OPTIM.LR = 0.03
    cfg.OPTIM.WEIGHT_DECAY = 0.05
    cfg.OPTIM.LR_SCHEDULER = "cosine"
    cfg.OPTIM.MAX_EPOCH = 200
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 256


def region_settings(cfg: CfgNode) -> RegionSettings:
    """The settings of stage 1 that a configuration holds.

    Raises:
        InputError: a value is out of its range.
    """
    lare = cfg.TRAINER.LARE
    try:
        return RegionSettings(
            alpha=lare.ALPHA,
            parametrisation=lare.REGION,
            normalise_corners=lare.NORMALISE_CORNERS,
            hidden_dim=lare.HIDDEN_DIM,
            epochs=lare.EPOCHS,
            lr=lare.LR,
            weight_decay=lare.WEIGHT_DECAY,
            batch_size=lare.BATCH_SIZE,
        )
    except InputError as error:
        raise InputError(f"TRAINER.LARE: {error}") from error


def merge_file(cfg: CfgNode, path: str | Path) -> None:
    """Merge a YAML file into a configuration.

    Raises:
        InputError: the file is missing or no YAML, or holds an unknown key or a value of another type.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no config file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold keys and values, not a {type(values).__name__}")
    for key, value in _leaves(values):
        merge_key(cfg, key, value, where=str(path))


def merge_overrides(cfg: CfgNode, overrides: list[str]) -> None:
    """Merge `KEY VALUE KEY VALUE ...` of a command line.

    Raises:
        InputError: a key without a value, an unknown key, or a value of another type.
    """
    if len(overrides) % 2:
        raise InputError(f"overrides come in pairs KEY VALUE, but '{overrides[-1]}' has no partner")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        merge_key(cfg, key, value, where="command line")


def merge_key(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    """Set one key of a configuration, checking that it exists and that the value has its type.

    Args:
        cfg: changed in place.
        key: dotted name, such as TRAINER.LARE.ALPHA.
        value: a YAML value, or its text.
        where: the file or command line that names the key, for the message.

    Raises:
        InputError: an unknown key (with the nearest), a value of another type, or none of the allowed choices.
    """
    known = dict(leaf_keys(cfg))
    if key not in known:
        raise InputError(f"{where}: {unknown_name('config key', key, _near(key, known))}")
    try:
        if value is None:
            raise TypeError("yacs takes None for a value of any type")
        cfg.merge_from_list([key, _literal(value, known[key])])
    except (ValueError, TypeError, SyntaxError) as error:
        expected = type(known[key]).__name__
        raise InputError(f"{where}: {key} takes a value of type {expected}, not {value!r}") from error
    if key in CHOICES and dict(leaf_keys(cfg))[key] not in CHOICES[key]:
        raise InputError(f"{where}: {key} must be one of {', '.join(CHOICES[key])}, not '{value}'")
    if key in MINIMA and not dict(leaf_keys(cfg))[key] >= MINIMA[key]:
        raise InputError(f"{where}: {key} must be at least {MINIMA[key]}, not {value}")


def _literal(value: Any, known: Any) -> Any:
    """A value as yacs is to read it: a whole number may stand for a float, and text for a text is no literal."""
    if type(known) is float:
        return float(value)
    return repr(value) if isinstance(value, str) and isinstance(known, str) else value


def leaf_keys(cfg: CfgNode, prefix: str = "") -> list[tuple[str, Any]]:
    """All keys of a configuration by their dotted names, with their values."""
    return _leaves(cfg, prefix)


def _leaves(node: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in node.items():
        key = f"{prefix}{name}"
        leaves += _leaves(value, f"{key}.") if isinstance(value, dict) and value else [(key, value)]
    return leaves


def _near(key: str, known: dict[str, Any]) -> list[str]:
    """The keys of the same section, or all keys where the section is unknown too."""
    section = key.rpartition(".")[0]
    return [name for name in known if name.rpartition(".")[0] == section] or list(known)


def new_config() -> CfgNode:
    """The host's default configuration with our keys, to merge files and overrides into."""
    register()
    return get_cfg_default()


def finish(cfg: CfgNode) -> CfgNode:
    """Drop the settings of trainers that do not run, and freeze."""
    clean_cfg(cfg, cfg.TRAINER.NAME)
    cfg.freeze()
    return cfg
