"""Every key that we add to Dassl's configuration, and the reading of configuration files and command-line overrides.

A key's default stands here, or in the settings class of its method where the method can be used without Dassl. What it
may hold beyond its type stands in `allowed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.errors import InputError, shown, unknown_name
from lare_dassl.host.door import TRAINER_REGISTRY, cfg_default, clean_cfg, get_cfg_default
from lare_dassl.io.yaml_files import parse_yaml, read_yaml
from lare_dassl.methods.clip_adapter import AdapterSettings
from lare_dassl.methods.lads import AugmentationSettings
from lare_dassl.methods.lare.regions import RegionSettings
from lare_dassl.methods.shared.fitting import FittingSettings

from .allowed import ALLOWED, ANY
from .split_settings import SplitSettings

# Keys that hold entries under names of the user's choosing, with the types of an entry.
MAPPINGS: dict[str, tuple[type, ...]] = {
    "DATASET.SOURCE_PROMPTS": (str, list),
    "DATASET.TARGET_PROMPTS": (str, list),
    "DATASET.EXPECTED_IMAGES": (int,),
}


def extend(cfg: CfgNode) -> None:
    """Add our keys to a Dassl configuration, in place."""
    _extend_dataset(cfg)
    _extend_vlm(cfg)
    _extend_lare(cfg)
    _extend_lads(cfg)
    _extend_siblings(cfg)
    _extend_tip_adapter(cfg)
    _extend_controls(cfg)
    _extend_coop(cfg)


def _extend_dataset(cfg: CfgNode) -> None:
    # Shares of a source domain's images kept for validation and for the in-domain test (DomainFolders, CUBPainting).
    cfg.DATASET.VAL_FRACTION = 0.1
    cfg.DATASET.TEST_FRACTION = 0.2
    # JSON file {"train": [...], "val": [...], "test": [...]} of image paths below DATASET.ROOT; "" splits by hash.
    cfg.DATASET.SPLIT_FILE = ""
    tail = SplitSettings()
    cfg.DATASET.LONG_TAIL = CfgNode()
    # Training images fall by this ratio from the first class of a random order, which follows from SEED, to the last.
    # The first has NUM_SHOTS images, or as many as the dataset's smallest class. 1 keeps the classes as they are.
    cfg.DATASET.LONG_TAIL.RATIO = tail.ratio
    # "exp": geometrically, n_max · r^(−c/(C−1)) (Cui et al., 2019); "step": one half has n_max, the other n_max / r.
    cfg.DATASET.LONG_TAIL.PROFILE = tail.profile
    # Classes that would have fewer images get this many; 0 refuses a split that leaves a class empty.
    cfg.DATASET.LONG_TAIL.MIN_IMAGES = tail.min_images
    # How domains are described to LADS: name of a domain → prompt with {} for the class name, or a list of prompts.
    cfg.DATASET.SOURCE_PROMPTS = CfgNode(new_allowed=True)
    cfg.DATASET.TARGET_PROMPTS = CfgNode(new_allowed=True)
    # The dataset's entry in datasets/sources.py, which says where to get it; "" for none.
    cfg.DATASET.ORIGIN = ""
    # Name of the folder with the domains below DATASET.ROOT, where it is not that itself (DomainFolders).
    cfg.DATASET.FOLDER = ""
    # Name of a domain → number of its images in a complete copy (DomainFolders).
    cfg.DATASET.EXPECTED_IMAGES = CfgNode(new_allowed=True)
    # Take a copy that has fewer images than it should, with a warning.
    cfg.DATASET.ALLOW_PARTIAL = False
    # Images that cannot be read: "error" tells of all of them and stops; "skip" leaves them out, of validation and test
    # too, with a warning, and the record counts them. Few-shot subsets are drawn before, and what was drawn and cannot
    # be read is not replaced.
    cfg.DATASET.BAD_IMAGES = "error"
    # The same image in two of train, val and test: "warn" counts and names them, "error" stops.
    cfg.DATASET.DUPLICATES = "warn"


def _extend_vlm(cfg: CfgNode) -> None:
    # The open_clip model is named by Dassl's own key MODEL.BACKBONE.NAME ("demo" is the model that ships with us).
    cfg.VLM = CfgNode()
    # open_clip's tag of the pretrained weights, or the path of a weights file.
    cfg.VLM.PRETRAINED = ""
    # Arithmetic of the encoder; auto is bf16 where the processor or GPU has it natively, else fp32.
    cfg.VLM.PRECISION = "auto"
    # Prompts of a class: each holds {} for the class name; their embeddings are averaged.
    cfg.VLM.TEMPLATES = ["a photo of a {}."]
    # JSON file {"class name": ["a description", ...]}, used instead of the templates (CuPL, Pratt et al., 2023).
    cfg.VLM.PROMPTS_FILE = ""
    # Random weights give meaningless embeddings; they serve tests and timing alone and must be asked for.
    cfg.VLM.ALLOW_RANDOM = False

    cfg.EMBEDDINGS = CfgNode()
    # Folder of the embedding cache, shared by all runs; "" is ~/.cache/lare_dassl, or $LARE_DASSL_CACHE where set.
    cfg.EMBEDDINGS.CACHE_DIR = ""
    # Images in the encoder at a time.
    cfg.EMBEDDINGS.BATCH_SIZE = 64

    # Where OPTIM.MAX_EPOCH is 0: as many epochs as make so many steps of the optimiser, at least 10 and at most 200.
    # OPTIM.LR is that of 200 epochs, and grows with the square root of what they are shortened by.
    cfg.OPTIM.STEPS = 600
    # Threads of torch; 0 leaves as many as torch has by itself, but no more than there are usable cores.
    cfg.TRAIN.THREADS = 0

    cfg.CLASSIFIER = CfgNode()
    # Start of the linear classifier: "random" (the paper's) or "text" (the zero-shot classifier).
    cfg.CLASSIFIER.INIT = "random"
    # Weight of the trained linear classifier in its average with the zero-shot one (WiSE-FT), from "0" to "1.0", which
    # is the trained one alone; "val" chooses it on the source domains' validation rows.
    cfg.CLASSIFIER.AVERAGE = "1.0"


def _extend_lare(cfg: CfgNode) -> None:
    # Stage 1 of LARE, arXiv 2409.12597; each default and its meaning stands in RegionSettings. Stage 2 is set by OPTIM.
    defaults = RegionSettings()
    cfg.TRAINER.LARE = CfgNode()
    cfg.TRAINER.LARE.ALPHA = defaults.alpha
    cfg.TRAINER.LARE.REGION = defaults.parametrisation
    cfg.TRAINER.LARE.NORMALISE_CORNERS = defaults.normalise_corners
    cfg.TRAINER.LARE.HIDDEN_DIM = defaults.hidden_dim
    cfg.TRAINER.LARE.EPOCHS = defaults.epochs
    cfg.TRAINER.LARE.STEPS = defaults.steps
    cfg.TRAINER.LARE.LR = defaults.lr
    cfg.TRAINER.LARE.WEIGHT_DECAY = defaults.weight_decay
    cfg.TRAINER.LARE.BATCH_SIZE = defaults.batch_size
    # Regional samples of each real embedding in a batch of stage 2.
    cfg.TRAINER.LARE.SAMPLES_PER_IMAGE = 1
    # Inverse temperature of the class consistency losses; 0 takes the VLM's own.
    cfg.TRAINER.LARE.LOGIT_SCALE = 0.0


def _extend_lads(cfg: CfgNode) -> None:
    # Stage 1 of LADS, arXiv 2210.09520; each default and its meaning stands in AugmentationSettings.
    defaults = AugmentationSettings()
    cfg.TRAINER.LADS = CfgNode()
    cfg.TRAINER.LADS.ALPHA = defaults.alpha
    cfg.TRAINER.LADS.HIDDEN_DIM = defaults.hidden_dim
    cfg.TRAINER.LADS.EPOCHS = defaults.epochs
    cfg.TRAINER.LADS.LR = defaults.lr
    cfg.TRAINER.LADS.WEIGHT_DECAY = defaults.weight_decay
    cfg.TRAINER.LADS.BATCH_SIZE = defaults.batch_size
    # Described domains to move embeddings to; [] stands for all but the sources and domains that the run leaves out.
    cfg.TRAINER.LADS.TARGETS = []
    # Inverse temperature of the class consistency loss; 0 takes the VLM's own.
    cfg.TRAINER.LADS.LOGIT_SCALE = 0.0


def _extend_siblings(cfg: CfgNode) -> None:
    # CLIP-Adapter (Gao et al., 2021).
    adapter = AdapterSettings()
    cfg.TRAINER.CLIPADAPTER = CfgNode()
    # Share of the adapted embedding in the sum with the frozen one, in [0, 1].
    cfg.TRAINER.CLIPADAPTER.RATIO = adapter.ratio
    # The adapter's hidden layer is narrower than the embedding by this factor.
    cfg.TRAINER.CLIPADAPTER.REDUCTION = adapter.reduction

    # Context optimisation (CoOp, Zhou et al., 2022).
    cfg.TRAINER.CONTEXTOPTIMISATION = CfgNode()
    # Words that the context vectors start as, one vector for each token; "" starts N_CTX vectors at random (0.02 std).
    cfg.TRAINER.CONTEXTOPTIMISATION.INIT = "a photo of a"
    # Context vectors where INIT is ""; the paper takes 16, which not every text tower has room for.
    cfg.TRAINER.CONTEXTOPTIMISATION.N_CTX = 4
    # Whether each class has context vectors of its own ("class-specific context").
    cfg.TRAINER.CONTEXTOPTIMISATION.CSC = False


def _extend_tip_adapter(cfg: CfgNode) -> None:
    # Of TipAdapter and TipAdapterF, Zhang et al., 2022: weight of the cache and sharpness of its affinities; 0 chooses
    # on the source domains' validation rows.
    cfg.TRAINER.TIPADAPTER = CfgNode({"ALPHA": 0.0, "BETA": 0.0})


def _extend_controls(cfg: CfgNode) -> None:
    # Embeddings added for each real one in a batch, as TRAINER.LARE.SAMPLES_PER_IMAGE.
    cfg.TRAINER.GAUSSIANNOISE = CfgNode({"SAMPLES_PER_IMAGE": 1})
    cfg.TRAINER.TEXTINTERPOLATION = CfgNode({"SAMPLES_PER_IMAGE": 1})
    # Length of the noise that is added to an embedding of length 1.
    cfg.TRAINER.GAUSSIANNOISE.SIGMA = 1.0


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
    extend_cfg is the place, for these trainers alone: no other knows what MAX_EPOCH 0 stands for.
    """
    cfg.OPTIM.NAME = "adamw"
    cfg.OPTIM.LR = 0.03
    cfg.OPTIM.WEIGHT_DECAY = 0.05
    cfg.OPTIM.LR_SCHEDULER = "cosine"
    cfg.OPTIM.MAX_EPOCH = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 256


def use_trainer_defaults(cfg: CfgNode, trainer: str) -> None:
    """Set what suits one of our trainers: the linear probe's settings, and the `defaults` of its class on top."""
    use_linear_probe_defaults(cfg)
    for key, value in getattr(TRAINER_REGISTRY.get(trainer), "defaults", {}).items():
        merge_key(cfg, key, value, where=f"defaults of {trainer}")


def averaging_weight(cfg: CfgNode) -> float | None:
    """The weight that CLASSIFIER.AVERAGE gives the trained classifier; None where it is chosen on validation rows.

    Raises:
        InputError: it is neither "val" nor a number in [0, 1].
    """
    text = cfg.CLASSIFIER.AVERAGE
    if text == "val":
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0.0 <= weight <= 1.0:
        raise InputError(f"CLASSIFIER.AVERAGE must be val or a number in [0, 1], not '{text}'")
    return weight


def region_settings(cfg: CfgNode) -> RegionSettings:
    """The settings of stage 1 of LARE that a configuration holds.

    Raises:
        InputError: a value is out of its range.
    """
    lare = cfg.TRAINER.LARE
    own = {"parametrisation": lare.REGION, "normalise_corners": lare.NORMALISE_CORNERS, "steps": lare.STEPS}
    with named("TRAINER.LARE"):
        return RegionSettings(**own, **_fitting_settings(lare))


def lads_settings(cfg: CfgNode) -> AugmentationSettings:
    """The settings of stage 1 of LADS that a configuration holds.

    Raises:
        InputError: a value is out of its range.
    """
    with named("TRAINER.LADS"):
        return AugmentationSettings(**_fitting_settings(cfg.TRAINER.LADS))


def adapter_settings(cfg: CfgNode) -> AdapterSettings:
    """The adapter's shape that a configuration holds.

    Raises:
        InputError: a value is out of its range.
    """
    section = cfg.TRAINER.CLIPADAPTER
    with named("TRAINER.CLIPADAPTER"):
        return AdapterSettings(section.RATIO, section.REDUCTION)


def _fitting_settings(section: CfgNode) -> dict[str, Any]:
    return {name: section[name.upper()] for name in FittingSettings.__annotations__}


@contextmanager
def named(section: str) -> Iterator[None]:
    """Put the section of the configuration before the message of what its settings raise."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{section}: {error}") from error


def merge_file(cfg: CfgNode, path: str | Path) -> None:
    """Merge a YAML file into a configuration.

    Raises:
        InputError: the file cannot be taken (see `read_yaml`), or holds an unknown key, one twice, or a value that the
            key does not take.
    """
    leaves = _leaves(read_yaml(Path(path)))
    twice = [key for key, count in Counter(key for key, _ in leaves).items() if count > 1]
    if twice:
        raise InputError(f"{path}: {twice[0]} is given twice: give it once")
    for key, value in leaves:
        merge_key(cfg, key, value, where=str(path))


def merge_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Merge `KEY VALUE KEY VALUE ...` of a command line.

    Raises:
        InputError: a key without a value, an unknown key, or a value that the key does not take.
    """
    if len(overrides) % 2:
        raise InputError(f"overrides come in pairs KEY VALUE, but '{overrides[-1]}' has no partner")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        merge_key(cfg, key, value, where="command line")


def merge_key(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    """Set one key of a configuration, checking that it exists and that it takes the value.

    Args:
        cfg: changed in place.
        key: dotted name, such as TRAINER.LARE.ALPHA.
        value: a YAML value, or its text.
        where: the file or command line that names the key, for the message.

    Raises:
        InputError: an unknown key (with the nearest), a value of another type, or one that `allowed` refuses.
    """
    if key.startswith("--"):
        raise InputError(f"{where}: the flag {key} comes after a KEY VALUE pair: put flags before the first pair")
    known = dict(leaf_keys(cfg))
    mapping = next((name for name in MAPPINGS if key == name or key.startswith(f"{name}.")), None)
    if mapping:
        _merge_entry(cfg, mapping, key.removeprefix(mapping).removeprefix("."), value, where)
        return
    if key not in known:
        raise InputError(f"{where}: {unknown_name('config key', key, _near(key, known))}")
    taken = _typed(key, value, known[key], where)
    fault = ALLOWED.get(key, ANY).fault(taken) if key in _own_and_dassls_keys() else ""
    if fault:
        raise InputError(f"{where}: {key} {fault}")
    cfg.merge_from_list([key, repr(taken) if isinstance(taken, str) else taken])


def _typed(key: str, value: Any, known: Any, where: str) -> Any:
    """The value that a key gets: of the type of the value that it has.

    Raises:
        InputError: the value is of another type.
    """
    holder = CfgNode({"VALUE": known})
    try:
        if value is None or (type(known) is float and isinstance(value, bool)):
            raise TypeError("yacs takes None for a value of any type, and float() a truth value for a number")
        holder.merge_from_list(["VALUE", _literal(value, known)])
        if isinstance(known, list | tuple):
            _check_entries(holder.VALUE, known)
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        expected = type(known).__name__
        raise InputError(f"{where}: {key} takes a value of type {expected}, not {shown(value)}") from error
    return holder.VALUE


def _check_entries(entries: list[Any] | tuple[Any, ...], known: list[Any] | tuple[Any, ...]) -> None:
    """Refuse entries of another kind than those that a list has: numbers, or else texts and what may stand for one.

    Raises:
        TypeError: an entry is of another kind.
    """
    kinds: tuple[type, ...] = (str, int, float)
    if known and not isinstance(known[0], str):
        kinds = (int, float) if isinstance(known[0], float) else (type(known[0]),)
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, kinds):
            raise TypeError(f"an entry cannot be {shown(entry)}")


@cache
def _own_and_dassls_keys() -> frozenset[str]:
    """The keys that `allowed` speaks for; what keys of plugins may hold, their trainers know."""
    return frozenset(key for key, _ in leaf_keys(new_config()))


def _merge_entry(cfg: CfgNode, mapping: str, name: str, value: Any, where: str) -> None:
    """Set one entry of a key that holds entries; the key itself takes {} alone, which removes all of them."""
    section, key = mapping.split(".")
    if not name and value not in ({}, "{}"):
        raise InputError(f"{where}: {mapping} takes entries NAME: VALUE (on a command line {mapping}.NAME VALUE)")
    if not name:
        cfg[section][key] = CfgNode(new_allowed=True)
        return
    types = MAPPINGS[mapping]
    value = _read_literal(value) if str not in types or str(value).startswith("[") else value
    texts = not isinstance(value, list) or all(isinstance(one, str) for one in value)
    if not isinstance(value, types) or isinstance(value, bool) or not texts:
        expected = " or ".join(kind.__name__ for kind in types)
        raise InputError(f"{where}: {mapping}.{name} takes a value of type {expected}, not {shown(value)}")
    fault = ALLOWED.get(mapping, ANY).fault([value] if isinstance(value, str) else value)
    if fault:
        raise InputError(f"{where}: {mapping}.{name} {fault}")
    cfg[section][key][name] = value


def _read_literal(value: Any) -> Any:
    """A value of a command line as YAML reads it; one of a file is read already."""
    try:
        return parse_yaml(value, "") if isinstance(value, str) else value
    except InputError:
        return value


def _literal(value: Any, known: Any) -> Any:
    """A value as yacs is to read it.

    A whole number may stand for a float, and text for a text is no literal. A list may be written as in YAML, or, of
    one entry, as that alone.
    """
    if type(known) is float:
        return float(value)
    if isinstance(known, list | tuple) and isinstance(value, str) and not value.startswith("("):
        read = _read_literal(value)
        if isinstance(read, list | tuple):
            return read
        return [read] if known and not isinstance(known[0], str) else [value]
    return repr(value) if isinstance(value, str) and isinstance(known, str) else value


def leaf_keys(cfg: CfgNode, prefix: str = "") -> list[tuple[str, Any]]:
    """All keys of a configuration by their dotted names, with their values."""
    return _leaves(cfg, prefix)


def _leaves(node: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and prefix.removesuffix(".") not in MAPPINGS:
            leaves += _leaves(value, f"{key}.")
        else:
            leaves.append((key, value))
    return leaves


def _near(key: str, known: dict[str, Any]) -> list[str]:
    """The keys below it, or of the same section, or all keys where the section is unknown too."""
    section = key.rpartition(".")[0]
    below = [name for name in known if name.startswith(f"{key}.")]
    return below or [name for name in known if name.rpartition(".")[0] == section] or list(known)


def new_config() -> CfgNode:
    """The host's default configuration with our keys, to merge files and overrides into."""
    register()
    return get_cfg_default()


def finish(cfg: CfgNode, section: str = "") -> CfgNode:
    """Drop the settings of trainers that do not run, and freeze.

    Args:
        cfg: changed in place.
        section: with the settings of the trainer, such as "TRAINER.LARE"; "" for one that is called as the trainer.
    """
    clean_cfg(cfg, section.rpartition(".")[2] or cfg.TRAINER.NAME)
    cfg.freeze()
    return cfg
