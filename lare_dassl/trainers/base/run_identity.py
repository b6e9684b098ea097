"""Identity of a run: it goes on from its own checkpoints alone, and a model is tested on data of its kind alone."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from lare_dassl.config.keys import KEYS, OWN_KEYS, free_in_tests, leaf_keys, run_settings, tells_runs_apart
from lare_dassl.embeddings.embedding_set import EmbeddingSet
from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.results.record import FILE_NAME as RECORD_FILE
from lare_dassl.results.record import read_record

from .checkpoint_reader import CheckpointReader
from .description import described

MODEL_FOLDER = "model"


def with_drawn_seed(cfg: CfgNode) -> CfgNode:
    """The configuration with a seed: its own, else one that is drawn."""
    return cfg if cfg.SEED >= 0 else seeded(cfg, secrets.randbelow(2**31))


def with_seed_of(cfg: CfgNode, folder: Path, reader: CheckpointReader) -> CfgNode:
    """The configuration with the seed of the run in a folder, where it has none of its own and there is one.

    Raises:
        InputError: the checkpoint of that run is damaged.
    """
    kept = None if cfg.SEED >= 0 else _kept_seed(folder, reader)
    return cfg if kept is None else seeded(cfg, kept)


def seeded(cfg: CfgNode, seed: int) -> CfgNode:
    """The configuration with this seed."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = seed
    cfg.freeze()
    return cfg


def settings_but_seed(cfg: CfgNode) -> str:
    """All settings of a run but its seed and folders; runs that differ in their seed alone share it."""
    own = {*OWN_KEYS} - {"TRAINER.NAME"}
    return str([(key, value) for key, value in leaf_keys(cfg) if key not in own])


def kept_checkpoints(folder: Path) -> Iterator[Path]:
    """The latest checkpoint of the model and of each first stage that a run's folder keeps."""
    stage_folders = {method.stage_folder for method in described() if method.stage_folder}
    for part in (MODEL_FOLDER, *sorted(stage_folders)):
        path = checkpoint.latest(folder / part)
        if path is not None:
            yield path


def _kept_seed(folder: Path, reader: CheckpointReader) -> int | None:
    for path in kept_checkpoints(folder):
        run = reader.read(path).get("run")
        if isinstance(run, dict) and str(run.get("SEED")).isdecimal():
            return int(run["SEED"])
    return None


def run_identity(cfg: CfgNode, embeddings: EmbeddingSet) -> dict[str, str]:
    """All that determines the course of a training: settings by their key, model, training data and class texts."""
    content = {
        "training data (sha256)": sha256_of(embeddings.train.embedding, embeddings.train.label),
        "class texts (sha256)": sha256_of(embeddings.class_text),
    }
    return run_settings(cfg) | model_identity(cfg, embeddings) | content


def sha256_of(*tensors: Tensor) -> str:
    """The hash of the content of tensors."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.cpu().contiguous().numpy().data)
    return content.hexdigest()


def model_identity(cfg: CfgNode, embeddings: EmbeddingSet) -> dict[str, str]:
    """Identity of a classifier: its method, the frozen model, the classes, and the domains it was trained on."""
    return {
        "trainer": cfg.TRAINER.NAME,
        "source domains": ", ".join(embeddings.source_domains),
        "frozen model": embeddings.vlm.model,
        "weights (sha256)": embeddings.vlm.weights_sha256,
        "embedding width": str(embeddings.vlm.embedding_dim),
        "classes": ", ".join(embeddings.classnames),
    }


def check_same_run(path: Path, state: dict[str, Any], identity: dict[str, str]) -> None:
    """Refuse to resume from a checkpoint of a run with other settings or data.

    Raises:
        InputError: names the first difference.
    """
    difference = _difference(state.get("run"), identity)
    if difference:
        raise InputError(f"checkpoint {path} is of another run ({difference}): give another --output-dir, or delete it")


def check_same_settings(path: Path, state: dict[str, Any], identity: dict[str, str]) -> None:
    """Refuse to write a record of a loaded model under settings that it was not trained with.

    Raises:
        InputError: names the first difference.
    """
    there = {key: value for key, value in state["run"].items() if not free_in_tests(key)}
    difference = _difference(there, {key: value for key, value in identity.items() if not free_in_tests(key)})
    if difference:
        raise InputError(f"a record needs the settings of the training ({difference} in {path}): give them too")


def check_same_record(folder: Path, path: Path, state: dict[str, Any]) -> None:
    """Refuse a checkpoint that is not of the run that the record in a folder tells of; without a record all are taken.

    Raises:
        InputError: names the first difference.
    """
    try:
        settings = read_record(folder / RECORD_FILE).settings
    except InputError:
        return
    run = state["run"] if isinstance(state["run"], dict) else {}
    # Lists look different in JSON.
    plain = {key: str(value) for key, value in settings.items() if isinstance(value, int | float | str) and key in run}
    difference = _difference({key: run[key] for key in plain}, plain)
    if difference:
        raise InputError(f"checkpoint {path} is of another run than {folder / RECORD_FILE} ({difference})")


def check_same_model(path: Path, state: dict[str, Any], identity: dict[str, str]) -> None:
    """Refuse to load a checkpoint of another frozen model or other classes.

    Raises:
        InputError: names the first difference.
    """
    difference = _difference(state.get("model"), identity)
    if difference:
        raise InputError(
            f"checkpoint {path} is of another model ({difference}): check --model-dir and the dataset config"
        )


def _difference(there: Any, here: dict[str, str]) -> str:
    """The first entry in which two identities differ, in words; "" where there is none.

    An earlier version may have kept settings that tell runs no longer apart, and lacks keys that are newer than it.
    """
    if not isinstance(there, dict):
        return "it does not say of which; it was not written by this trainer"
    there = {key: str(KEYS[key].default) for key in here if key in KEYS and KEYS[key].later} | there
    keys = [key for key in here | there if tells_runs_apart(key) and there.get(key) != here.get(key)]
    return f"{keys[0]} is {_short(there.get(keys[0]))} there and {_short(here.get(keys[0]))} here" if keys else ""


def _short(value: str | None) -> str:
    text = "not set" if value is None else value or "''"
    return text if len(text) <= 60 else text[:57] + "..."
