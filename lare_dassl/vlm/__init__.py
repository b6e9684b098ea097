"""The frozen vision-language model: the only file that names open_clip.

`resolve` says which model and weights are meant, without loading them; `load` gives a FrozenVLM.
B: batch, D: embedding width.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import InputError, unknown_name
from ..io.json_files import read_json
from ..system import network
from ..system.torchvision_mend import mend

mend()
import open_clip  # noqa: E402
from open_clip.constants import HF_WEIGHTS_NAME  # noqa: E402
from open_clip.factory import LOCAL_DIR_PREFIX, parse_model_name  # noqa: E402
from open_clip.pretrained import _get_safe_alternatives  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402

logger = logging.getLogger(__name__)

DEMO_MODEL = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "assets" / "demo_coca"
TEXT_BATCH = 256
# How a file becomes a picture, see embeddings/image_files.py: with another number all images are encoded again.
READING = 2
# The argument by which transformers runs code that lies beside a tokenizer.
REMOTE_CODE = "trust_remote_code"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# A CPU multiplies matrices by other kernels where rows are left over, which round differently: in a multiple of so
# many, an embedding is the same to the bit whatever images or texts share its batch (docs/reproducibility.md).
CPU_ROWS = 8
# Mean cosine between low-precision and fp32 embeddings below which low precision is not used.
PRECISION_GUARD_COSINE = 0.999


@dataclass(frozen=True)
class VLMSource:
    """A model and its weights, found but not loaded.

    Attributes:
        model: the name that the user gave.
        open_clip_name: the name that open_clip takes.
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
        """A hash of all that an embedding depends on beside the image."""
        parts = [weights_sha256, self.architecture, self.preprocess, precision, READING]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class FrozenVLM:
    """A loaded model, in eval mode and without gradients.

    Attributes:
        model: open_clip's module.
        preprocess: PIL image → float32 tensor (3, height, width), the model's own transform.
        tokenizer: list of texts → int64 (B, context length).
        device: where the model is.
        precision: "fp32", "bf16" or "fp16".
        logit_scale: inverse temperature that the model was trained with.
    """

    model: Any
    preprocess: Callable[[Any], Tensor]
    tokenizer: Callable[[Sequence[str]], Tensor]
    device: torch.device
    precision: str
    logit_scale: float

    @functools.cached_property
    def parts(self) -> PreprocessParts:
        """`preprocess` in two parts, of which the second works on whole batches, on the model's device."""
        return split_preprocess(self.preprocess)

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Unit-length embeddings of preprocessed images: float32 (B, D) on the CPU.

        Args:
            pixels: float32 (B, 3, height, width) from `preprocess`, or what `parts.resize` gives for them.
        """
        rows = len(pixels)
        if pixels.dtype == torch.uint8:
            pixels = self.parts.scale(pixels.to(self.device))
        pixels = self._filled_up(pixels).to(self.device, DTYPES[self.precision])
        return F.normalize(self.model.encode_image(pixels, normalize=False).float(), dim=-1)[:rows].cpu()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings of texts: float32 (B, D) on the CPU."""
        tokens = self._filled_up(self.tokenizer(list(texts))).to(self.device)
        batches = [self.model.encode_text(batch, normalize=False).float() for batch in tokens.split(TEXT_BATCH)]
        return F.normalize(torch.cat(batches), dim=-1)[: len(texts)].cpu()

    def _filled_up(self, batch: Tensor) -> Tensor:
        """A batch (B, ...) with rows of zeros behind it where a CPU needs them."""
        missing = -len(batch) % CPU_ROWS if self.device.type == "cpu" else 0
        return F.pad(batch, (0, 0) * (batch.ndim - 1) + (0, missing))

    def text_encoder(self) -> TextEncoder:
        """The text tower, to encode prompts from the embeddings of their tokens.

        Raises:
            InputError: see TextEncoder.
        """
        return TextEncoder(self.model, self.tokenizer)


@dataclass(frozen=True)
class Resize:
    """Transforms of a PIL image, one after another: PIL image → uint8 tensor (height, width, 3).

    Other processes can be given it too.
    """

    transforms: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Any) -> Tensor:
        for transform in self.transforms:
            image = transform(image)
        return torch.from_numpy(np.array(image))


@dataclass(frozen=True)
class PreprocessParts:
    """A preprocessing in two parts, together the same to the bit.

    Attributes:
        resize: PIL image → uint8 tensor (height, width, 3); or all of the preprocessing where it cannot be divided.
        scale: uint8 (B, height, width, 3) → float32 (B, 3, height, width), on the device that it is given.
    """

    resize: Callable[[Any], Tensor]
    scale: Callable[[Tensor], Tensor]


def split_preprocess(preprocess: Any) -> PreprocessParts:
    """Divide open_clip's transform, which ends with the scaling of bytes to numbers of a certain mean and spread.

    That end takes a quarter of the time, holds Python's lock in each thread, and makes the images four times as large.
    """
    transforms = list(getattr(preprocess, "transforms", ()))
    ends = [type(transform).__name__ for transform in transforms[-2:]]
    if ends not in (["MaybeToTensor", "Normalize"], ["ToTensor", "Normalize"]):
        return PreprocessParts(preprocess, lambda pixels: pixels)
    *resizing, _, normalize = transforms

    def scale(pixels: Tensor) -> Tensor:
        # A number in place of the tensor would be a product with 1/255 on a GPU, which is rounded differently.
        greatest = torch.tensor(255.0, device=pixels.device)
        mean, spread = (
            torch.tensor(part, device=pixels.device)[:, None, None] for part in (normalize.mean, normalize.std)
        )
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(greatest).sub_(mean).div_(spread)

    return PreprocessParts(Resize(tuple(resizing)), scale)


class TextEncoder(nn.Module):
    """A frozen text tower from the embeddings of tokens on; gradients reach these embeddings and nothing else.

    It runs open_clip's own tower, and puts the given embeddings in the place of those that the tower looks up.

    Args:
        model: open_clip's module, frozen.
        tokenizer: list of texts → int64 (B, context length).

    Attributes:
        tokenizer: as given.

    Raises:
        InputError: the text tower is none of open_clip's own.
    """

    def __init__(self, model: Any, tokenizer: Callable[[Sequence[str]], Tensor]) -> None:
        super().__init__()
        self.tower: Any = getattr(model, "text", model)
        self.tokenizer = tokenizer
        if not hasattr(self.tower, "token_embedding"):
            kind = type(self.tower).__name__
            raise InputError(f"its text tower is a {kind}, which takes no token embeddings: choose another model")

    @property
    def embedding_dim(self) -> int:
        """D."""
        tokens = self.tokenizer(["a"]).to(self.tower.positional_embedding.device)
        return self(self.embed_tokens(tokens), tokens).shape[1]

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """The tower's embeddings of tokens, int64 (C, L): (C, L, W)."""
        return self.tower.token_embedding(tokens)

    def forward(self, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Unit-length embeddings of prompts, float32 (C, D).

        Args:
            embedding: of the prompts' tokens, (C, L, W).
            tokens: the prompts, int64 (C, L); they say where a prompt ends, which gives the place that is read off.
        """
        length = self._length_in_use(tokens)
        hook = self.tower.token_embedding.register_forward_hook(lambda *_: embedding[:, :length])
        try:
            output = functional_call(self.tower, self._shortened(length), kwargs={"text": tokens[:, :length]})
        finally:
            hook.remove()
        features = output if isinstance(output, Tensor) else output[1 if isinstance(self.tower, open_clip.CLIP) else 0]
        return F.normalize(features.float(), dim=-1)

    def _length_in_use(self, tokens: Tensor) -> int:
        """The tokens that matter: where each sees those before it alone, none behind the longest prompt's end does."""
        pooled = getattr(self.tower, "text_pool_type", None) or self.tower.pool_type
        if pooled != "argmax" or self.tower.attn_mask is None or getattr(self.tower, "cls_emb", None) is not None:
            return tokens.shape[1]
        return int(tokens.argmax(dim=1).max()) + 1

    def _shortened(self, length: int) -> dict[str, Tensor]:
        """The tower's tensors that have a place for each token, cut to the first ones."""
        if length == self.tower.context_length:
            return {}
        mask, positions = self.tower.attn_mask, self.tower.positional_embedding
        return {"attn_mask": mask[:length, :length], "positional_embedding": positions[:length]}


def resolve(model: str, pretrained: str, allow_random: bool = False) -> VLMSource:
    """Find a model's architecture and weights; those of a tag are downloaded where this machine lacks them.

    Args:
        model: an open_clip model name, "demo", `local-dir:FOLDER` or `hf-hub:NAME` (MODEL.BACKBONE.NAME).
        pretrained: an open_clip tag or a weights file (VLM.PRETRAINED); "" for a folder that holds its weights.
        allow_random: take random weights where `pretrained` is "" (VLM.ALLOW_RANDOM).

    Raises:
        InputError: unknown model or tag, missing file, no weights asked for, or no network to get them by.
    """
    schema, identifier = check_names(model, pretrained, allow_random)
    if schema is None:
        return _resolve_named(model, pretrained)
    folder = Path(identifier) if schema == "local-dir" else _download_hub_folder(identifier)
    return _resolve_folder(model, folder, allow_random)


def check_names(model: str, pretrained: str, allow_random: bool = False) -> tuple[str | None, str]:
    """Refuse what names no model or no weights; nothing is loaded, and the network is not asked.

    Args:
        model: see `resolve`.
        pretrained: see `resolve`.
        allow_random: see `resolve`.

    Returns:
        Where the model comes from, "local-dir", "hf-hub" or None for open_clip's own, and its name there.

    Raises:
        InputError: unknown model or tag, missing file, or no weights asked for.
    """
    if not model:
        raise InputError("no model named: give --backbone (MODEL.BACKBONE.NAME), such as coca_ViT-L-14")
    try:
        schema, identifier = parse_model_name(f"{LOCAL_DIR_PREFIX}{DEMO_FOLDER}" if model == DEMO_MODEL else model)
    except ValueError as error:
        raise InputError(f"MODEL.BACKBONE.NAME '{model}': {error}") from error
    if schema is None:
        _check_named(model, pretrained, allow_random)
    elif pretrained:
        raise InputError(f"model {model} brings its own weights: leave VLM.PRETRAINED empty, not '{pretrained}'")
    return schema, identifier


def _check_named(model: str, pretrained: str, allow_random: bool) -> None:
    name = model.replace("/", "-")
    if open_clip.get_model_config(name) is None:
        raise unknown_name("model (MODEL.BACKBONE.NAME)", model, [*open_clip.list_models(), DEMO_MODEL])
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained and not allow_random:
        raise InputError(
            f"model {model} has no weights: set VLM.PRETRAINED to a weights file or a tag "
            f"({', '.join(tags) or 'there are none'}), or VLM.ALLOW_RANDOM True to test with random weights"
        )
    if pretrained and not open_clip.get_pretrained_cfg(name, pretrained) and not Path(pretrained).is_file():
        if Path(pretrained).suffix or "/" in pretrained:
            raise InputError(f"VLM.PRETRAINED: no weights file {pretrained}")
        raise unknown_name(f"VLM.PRETRAINED tag of {model} (or a file)", pretrained, tags)


def _resolve_named(model: str, pretrained: str) -> VLMSource:
    name = model.replace("/", "-")
    architecture = open_clip.get_model_config(name)
    if not pretrained:
        return VLMSource(model, name, "", None, architecture, {})
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if tag.get("quick_gelu") and not architecture.get("quick_gelu"):
        logger.warning("%s was trained with another activation: name the model %s-quickgelu", pretrained, name)
    weights = _locate_tag(model, pretrained, tag) if tag else Path(pretrained)
    preprocess = _preprocess_of(tag) if tag else _common_preprocess(name, tags)
    return VLMSource(model, name, pretrained, weights, architecture, preprocess)


def _preprocess_of(tag: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tag.items() if key in ("mean", "std", "interpolation", "resize_mode")}


def _common_preprocess(name: str, tags: Sequence[str]) -> dict[str, Any]:
    """The preprocessing of a weights file that no tag names: that of the architecture's tags, where they agree."""
    known = [_preprocess_of(open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    if known and all(one == known[0] for one in known):
        return known[0]
    if known:
        logger.warning("the weights of %s differ in preprocessing: a weights file gets open_clip's default", name)
    return {}


def _resolve_folder(model: str, folder: Path, allow_random: bool) -> VLMSource:
    config_file = folder / "open_clip_config.json"
    try:
        config = read_json(config_file)
        architecture, preprocess = config["model_cfg"], config.get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"model {model}: {config_file} is missing or holds no 'model_cfg'") from error
    if REMOTE_CODE in json.dumps(config):
        raise InputError(f"model {model}: {config_file} asks to run code ({REMOTE_CODE}): take that out")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not allow_random:
        raise InputError(f"model {model}: no .safetensors weights in {folder}")
    name = f"{LOCAL_DIR_PREFIX}{folder}"
    merges = _merges_file(architecture, folder)
    if merges is not None and merges.is_file():
        # Texts depend on the tokenizer too.
        architecture = architecture | {"merges_sha256": hashlib.sha256(merges.read_bytes()).hexdigest()}
    return VLMSource(model, name, "", weights[0] if weights else None, architecture, preprocess)


def _locate_tag(model: str, pretrained: str, tag: dict[str, Any]) -> Path:
    """The weights file of a tag: from the local cache, else downloaded, once a short probe has found the network."""
    cached = _cached_weights(tag)
    if cached is not None:
        return cached
    if not network.reachable(_tag_url(tag)):
        raise InputError(
            f"no weights for {model} ({pretrained}) in {_cache_folder(tag)} and no network to download them: "
            "copy them there, or set VLM.PRETRAINED to the path of a weights file"
        )
    logger.info("downloading weights of %s (%s)", model, pretrained)
    try:
        return Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise InputError(f"download of {model} ({pretrained}) failed: {' '.join(str(error).split())}") from error


def _hub_file(tag: dict[str, Any]) -> tuple[str, list[str]]:
    """Repository and the file names to look for, best first."""
    repository, _, filename = tag["hf_hub"].rpartition("/")
    filename = filename or HF_WEIGHTS_NAME
    return repository, [*_get_safe_alternatives(filename), filename]


def _cached_weights(tag: dict[str, Any]) -> Path | None:
    if tag.get("hf_hub"):
        repository, filenames = _hub_file(tag)
        found = (try_to_load_from_cache(repository, filename) for filename in filenames)
        return next((Path(path) for path in found if isinstance(path, str)), None)
    path = _cache_folder(tag) / Path(tag["url"]).name
    return path if path.is_file() else None


def _cache_folder(tag: dict[str, Any]) -> Path:
    return Path(HF_HUB_CACHE) if tag.get("hf_hub") else Path("~/.cache/clip").expanduser()


def _tag_url(tag: dict[str, Any]) -> str:
    if not tag.get("hf_hub"):
        return str(tag["url"])
    repository, filenames = _hub_file(tag)
    return hf_hub_url(repository, filenames[-1])


def _download_hub_folder(identifier: str) -> Path:
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        reachable = network.reachable(hf_hub_url(identifier, "open_clip_config.json"))
        return Path(snapshot_download(identifier, allow_patterns=patterns, local_files_only=not reachable))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"model hf-hub:{identifier} is not in the local hub cache and there is no network: "
            "give local-dir:FOLDER with its files"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"model hf-hub:{identifier}: {' '.join(str(error).split())}") from error


def resolve_precision(precision: str, device: torch.device) -> str:
    """What "auto" means on a device: bf16 where it is native, else fp32; any other value stands."""
    return precision if precision != "auto" else "bf16" if _native_bf16(device) else "fp32"


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def load(source: VLMSource, precision: str, device: torch.device) -> FrozenVLM:
    """Load a model to encode with.

    Args:
        source: from `resolve`.
        precision: "fp32", "bf16" or "fp16".
        device: where to encode.

    Raises:
        InputError: the weights file is damaged or belongs to another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        # Random weights, where asked for, are the same each time, so that what they encode can be cached.
        torch.default_generator.manual_seed(0)
        model = _create(source)
    # Before the cast: bf16 would round 100 to 98.9.
    scale = float(model.logit_scale.detach().exp()) if hasattr(model, "logit_scale") else 100.0
    model = model.to(device, DTYPES[precision]).eval().requires_grad_(False)
    return FrozenVLM(model, _transform(model), tokenizer_of(source), device, precision, scale)


def _create(source: VLMSource) -> Any:
    try:
        if source.open_clip_name.startswith(LOCAL_DIR_PREFIX):
            return open_clip.create_model(source.open_clip_name, load_weights=source.weights is not None)
        pretrained = str(source.weights) if source.weights else None
        return open_clip.create_model(
            source.open_clip_name, pretrained=pretrained, force_preprocess_cfg=source.preprocess
        )
    except Exception as error:
        # open_clip passes on whatever the readers of weights raise, and safetensors' errors share no base.
        cause = " ".join(str(error).split())[:200]
        raise InputError(f"weights {source.weights} do not load into model {source.model}: {cause}") from error


def _transform(model: nn.Module) -> Callable[[Any], Tensor]:
    return image_transform_v2(PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False)


def tokenizer_of(source: VLMSource) -> Callable[[Sequence[str]], Tensor]:
    """The tokenizer of a model; a merges file that a model folder names is read from that folder."""
    try:
        return _open_tokenizer(source)
    except (ImportError, OSError) as error:
        cause = " ".join(str(error).split())[:200]
        raise InputError(
            f"the tokenizer of {source.model} cannot be had ({cause}): pip install transformers"
        ) from error


def _open_tokenizer(source: VLMSource) -> Callable[[Sequence[str]], Tensor]:
    if source.open_clip_name.startswith(LOCAL_DIR_PREFIX):
        merges = _merges_file(source.architecture, Path(source.open_clip_name.removeprefix(LOCAL_DIR_PREFIX)))
        if merges is not None:
            return open_clip.get_tokenizer(source.open_clip_name, bpe_path=str(merges))
    return open_clip.get_tokenizer(source.open_clip_name)


def _merges_file(architecture: dict[str, Any], folder: Path) -> Path | None:
    name = architecture.get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    return folder / name if name else None


def build_untrained(folder: Path) -> tuple[nn.Module, Callable[[Sequence[str]], Tensor], Callable[[Any], Tensor]]:
    """A model folder's architecture with random weights, its tokenizer and its preprocessing, to pretrain.

    Raises:
        InputError: the folder holds no open_clip configuration.
    """
    source = _resolve_folder(str(folder), folder, allow_random=True)
    model = open_clip.create_model(source.open_clip_name, load_weights=False)
    return model, tokenizer_of(source), _transform(model)


def low_precision_agrees(low: FrozenVLM, source: VLMSource, pixels: Tensor) -> bool:
    """Whether a low-precision model gives fp32's embeddings: mean cosine of at least 0.999 on a batch (B, 3, H, W)."""
    reference = load(source, "fp32", low.device).encode_images(pixels)
    cosine = (reference * low.encode_images(pixels)).sum(dim=-1).mean()
    logger.info("cosine between %s and fp32 embeddings: %.5f", low.precision, cosine)
    return bool(cosine >= PRECISION_GUARD_COSINE)


@functools.cache
def available_device(use_cuda: bool = True) -> torch.device:
    """CUDA where there is one and it may be used, else Apple's MPS, else the CPU."""
    if use_cuda and torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if use_cuda and torch.backends.mps.is_available() else "cpu")
