"""One configuration from its sources: defaults, files, flags and KEY VALUE pairs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from yacs.config import CfgNode

from lare_dassl.errors import InputError

from . import merging
from .request import DataRequest
from .split_settings import ALL_SHOTS


class Method(Protocol):
    """A method, as its trainer describes it; see trainers/base/description.py."""

    @property
    def section(self) -> str:
        """Section of the configuration with its keys."""


# Gives a trainer on embeddings by its name, and None for other trainers.
Describe = Callable[[str], Method | None]


def run_config(request: DataRequest, describe: Describe) -> CfgNode:
    """The whole configuration of a run, frozen; a run without --output-dir gets its default folder.

    Raises:
        InputError: see `merge_sources`.
    """
    cfg = merge_sources(request, describe)
    if cfg.OUTPUT_DIR == "./output":
        cfg.OUTPUT_DIR = default_output_dir(cfg, request.dataset_config_file)
    method = describe(cfg.TRAINER.NAME)
    return merging.finish(cfg, method.section if method else "")


def merge_sources(request: DataRequest, describe: Describe) -> CfgNode:
    """Method defaults, the dataset's file, further files, flags, KEY VALUE pairs: the later one counts.

    Args:
        request: names the sources.
        describe: gives the trainers on embeddings, which have defaults of their own.

    Raises:
        InputError: an unknown key or plugin, or a value of another type.
    """
    cfg = merging.new_config()
    load_plugins(request.plugins, cfg)
    # The method's defaults come first, but any of the sources may name the method.
    trainer = _merge(cfg.clone(), request).TRAINER.NAME
    if describe(trainer):
        merging.use_trainer_defaults(cfg, trainer)
    return _merge(cfg, request)


def load_plugins(modules: Sequence[str], cfg: CfgNode) -> None:
    """Import modules so that they register; one that has `extend_cfg`, as Dassl's train.py does, adds its keys.

    Raises:
        InputError: a module cannot be imported.
    """
    if modules:
        sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            cause = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"--plugin {name} cannot be imported: {cause} (is its folder on PYTHONPATH?)") from error
        if hasattr(module, "extend_cfg"):
            module.extend_cfg(cfg)


def _merge(cfg: CfgNode, request: DataRequest) -> CfgNode:
    for path in filter(None, (request.dataset_config_file, *request.config_files)):
        merging.merge_file(cfg, path)
    for flag, key, value in request.given():
        _check_not_keys(cfg, flag, value)
        merging.merge_key(cfg, key, value, where=flag)
    merging.merge_overrides(cfg, request.overrides)
    for key in ("SOURCE_DOMAINS", "TARGET_DOMAINS"):
        cfg.DATASET[key] = [str(name) for name in cfg.DATASET[key]]
    return cfg


def _check_not_keys(cfg: CfgNode, flag: str, value: Any) -> None:
    """Refuse KEY VALUE pairs that a flag with several values has taken in.

    Raises:
        InputError: names the flag; the key that the merge would name is not at fault.
    """
    keys = set(value) & dict(merging.leaf_keys(cfg)).keys() if isinstance(value, list) else set()
    if keys:
        raise InputError(
            f"{flag} takes in '{min(keys)}': put another flag, such as --seed 0, before the KEY VALUE pairs"
        )


def default_output_dir(cfg: CfgNode, dataset_config_file: str) -> str:
    """The folder of a run that names none: output/<dataset>/<trainer>/[<shots and long tail>/]seed<k>.

    The dataset is called by its config file, an embedding file by its own name.
    """
    named_by = cfg.DATASET.ROOT if cfg.DATASET.NAME == "EmbeddingFile" else dataset_config_file
    shots, ratio = cfg.DATASET.NUM_SHOTS, cfg.DATASET.LONG_TAIL.RATIO
    parts = [f"shots{shots}"] if shots != ALL_SHOTS else []
    parts += [f"{cfg.DATASET.LONG_TAIL.PROFILE}{ratio:g}"] if ratio != 1 else []
    seed = f"seed{cfg.SEED}" if cfg.SEED >= 0 else "unseeded"
    folders = ["output", Path(named_by).stem or cfg.DATASET.NAME, cfg.TRAINER.NAME, "-".join(parts), seed]
    return "/".join(filter(None, folders))
