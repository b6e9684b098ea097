"""From images and class names to an EmbeddingSet, through the frozen VLM and the cache. D: embedding width."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .. import vlm
from ..errors import InputError, UnreadableError
from .cache import EmbeddingStore, FileHashes, file_sha256, text_key
from .embedding_set import RANDOM_WEIGHTS, VLMIdentity

logger = logging.getLogger(__name__)

# A shard is written after so many images, or after so long: what a kill can cost.
SHARD_ROWS = 1024
SHARD_SECONDS = 30.0


@dataclass(frozen=True)
class EncodingReport:
    """What an encoding did.

    Attributes:
        images: images asked for.
        decoded: of these, images that were decoded and encoded now; the others came from the cache.
    """

    images: int
    decoded: int


def weights_sha256(source: vlm.VLMSource) -> str:
    """The sha256 of a model's weights file, which is read whole; RANDOM_WEIGHTS where it has none."""
    return RANDOM_WEIGHTS if source.weights is None else file_sha256(source.weights)


class Encoder:
    """Encodes images and texts with a frozen VLM, each once; the model is loaded only when something is not cached.

    Args:
        source: the model, see vlm.resolve.
        precision: "auto", "fp32", "bf16" or "fp16"; auto falls back to fp32 where bf16 does not agree with it.
        device: where to encode.
        folder: of the cache.
        batch_size: images per encoder call.
        num_workers: processes that decode images; 0 decodes in this one.

    Raises:
        InputError: the cache folder cannot be written to.
    """

    def __init__(
        self,
        source: vlm.VLMSource,
        precision: str,
        device: torch.device,
        folder: Path,
        *,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        self.source = source
        self.device = device
        self.folder = folder
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.hashes = FileHashes(folder)
        self.weights_sha256 = self._hash_weights()
        self.guarded = precision == "auto"
        self._use(vlm.resolve_precision(precision, device))
        # A model agrees with fp32 or not on one kind of device.
        self.verdict = f"agrees_with_fp32_on_{device.type}"
        if self.guarded and self.store.facts().get(self.verdict) is False:
            self._use("fp32")

    def _use(self, precision: str) -> None:
        self.precision = precision
        self.store = EmbeddingStore(self.folder, self.source.fingerprint(self.weights_sha256, precision))
        self._model: vlm.FrozenVLM | None = None

    def _hash_weights(self) -> str:
        known = self.hashes([self.source.weights]) if self.source.weights else {}
        return next(iter(known.values()), "") or weights_sha256(self.source)

    @property
    def model(self) -> vlm.FrozenVLM:
        """The loaded model."""
        if self._model is None:
            logger.info("loading %s (%s) on %s", self.source.model, self.precision, self.device)
            self._model = vlm.load(self.source, self.precision, self.device)
        return self._model

    def identity(self) -> VLMIdentity:
        """Who encodes, and how."""
        facts = self.store.facts()
        if not {"embedding_dim", "logit_scale"} <= facts.keys():
            width = self.model.encode_texts(["a photo"]).shape[1]
            scale = self.model.logit_scale
            self.store.remember(
                model=self.source.model, embedding_dim=width, logit_scale=scale, precision=self.precision
            )
            facts = {"embedding_dim": width, "logit_scale": scale}
        return VLMIdentity(
            model=self.source.model,
            pretrained=self.source.pretrained,
            weights_sha256=self.weights_sha256,
            embedding_dim=facts["embedding_dim"],
            logit_scale=facts["logit_scale"],
            precision=self.precision,
            preprocess=json.dumps(self.source.preprocess, sort_keys=True),
        )

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-length embeddings of texts: float32 (N, D)."""
        keys = [text_key(text) for text in texts]
        by_key = dict(zip(keys, texts, strict=True))
        missing = self.store.missing(keys)
        if missing:
            self.store.add(missing, self.model.encode_texts([by_key[key] for key in missing]))
        return self.store.gather(keys)

    def encode_images(self, paths: Sequence[Path]) -> tuple[Tensor, EncodingReport]:
        """Unit-length embeddings of image files: float32 (N, D).

        Raises:
            UnreadableError: some images cannot be read; it counts and names them, and all others are in the cache by
                then.
        """
        hashes = self.hashes(paths)
        path_of = {key: path for path, key in hashes.items()}
        unreadable = [(path, "no such file, or no permission") for path in dict.fromkeys(paths) if path not in hashes]
        # First of all, since it may change the precision, and with it the store.
        self._check_precision(list(hashes))
        missing = [path_of[key] for key in self.store.missing(hashes.values())]
        if missing:
            causes = {hashes[path]: cause for path, cause in self._encode_missing(missing, hashes)}
            # Files of the same content are decoded once, but each of them is to be mended.
            unreadable += [(path, causes[key]) for path, key in hashes.items() if key in causes]
        if unreadable:
            raise _unreadable_error(unreadable, len(paths))
        return self.store.gather([hashes[path] for path in paths]), EncodingReport(len(paths), len(missing))

    def missing_images(self, paths: Sequence[Path]) -> list[Path]:
        """The readable files among `paths` that encode_images would encode, in its order, and in the precision found.

        Of files of the same content one is named.
        """
        hashes = self.hashes(paths)
        path_of = {key: path for path, key in hashes.items()}
        self._check_precision(list(hashes))
        return [path_of[key] for key in self.store.missing(hashes.values())]

    def _check_precision(self, paths: Sequence[Path]) -> None:
        if not self.guarded or self.precision == "fp32" or self.verdict in self.store.facts():
            return
        pixels = next((batch.pixels for batch in self._decode(paths[: 4 * self.batch_size]) if len(batch.pixels)), None)
        if pixels is None:
            return
        agrees = vlm.low_precision_agrees(self.model, self.source, pixels)
        self.store.remember(**{self.verdict: agrees})
        if not agrees:
            logger.warning("%s embeddings differ from fp32's on this machine: encoding in fp32", self.precision)
            self._use("fp32")

    def _encode_missing(self, paths: Sequence[Path], keys: dict[Path, str]) -> list[tuple[Path, str]]:
        unreadable: list[tuple[Path, str]] = []
        pending: list[tuple[str, Tensor]] = []
        kept = time.monotonic()
        encode = self.model.encode_images
        try:
            with tqdm(total=len(paths), desc="encoding images", unit="img", mininterval=0.5) as progress:
                for batch in self._decode(paths):
                    unreadable += batch.unreadable
                    if batch.paths:
                        pending += zip((keys[path] for path in batch.paths), encode(batch.pixels), strict=True)
                    if len(pending) >= SHARD_ROWS or time.monotonic() - kept > SHARD_SECONDS:
                        self._keep(pending)
                        pending, kept = [], time.monotonic()
                    progress.update(len(batch.paths) + len(batch.unreadable))
        finally:
            # What an interruption finds encoded is kept too.
            self._keep(pending)
        return unreadable

    def _keep(self, rows: list[tuple[str, Tensor]]) -> None:
        if rows:
            keys, embeddings = zip(*rows, strict=True)
            self.store.add(keys, torch.stack(embeddings))

    def _decode(self, paths: Sequence[Path]) -> Iterator[DecodedBatch]:
        loader = DataLoader(
            _ImageFiles(paths, self.model.preprocess),
            batch_size=self.batch_size,
            num_workers=min(self.num_workers, usable_cores(), math.ceil(len(paths) / self.batch_size)),
            collate_fn=_collate,
            # A loader without its own draws a seed from the global random state.
            generator=torch.Generator(),
        )
        return iter(loader)


@dataclass(frozen=True)
class DecodedBatch:
    """Images of one batch: those read, with their pixels (B, 3, H, W), and those that cannot be, with the cause."""

    paths: list[Path]
    pixels: Tensor
    unreadable: list[tuple[Path, str]]


class _ImageFiles(Dataset[tuple[Path, "Tensor | str"]]):
    def __init__(self, paths: Sequence[Path], preprocess: object) -> None:
        self.paths = paths
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Path, Tensor | str]:
        path = self.paths[index]
        try:
            return path, decode_image(path, self.preprocess)
        except InputError as error:
            return path, str(error)


def decode_image(path: Path, preprocess: object) -> Tensor:
    """Read an image file and preprocess it: float32 (3, H, W).

    Raises:
        InputError: the file is missing, damaged, or no image; the message is the cause alone.
    """
    try:
        with Image.open(path) as image:
            return preprocess(image.convert("RGB"))  # type: ignore[operator]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise InputError(" ".join(cause.split()).replace(f" '{path}'", "")) from error


def usable_cores() -> int:
    """Processor cores that this process may use; not every system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collate(items: list[tuple[Path, Tensor | str]]) -> DecodedBatch:
    read = [(path, result) for path, result in items if isinstance(result, Tensor)]
    unreadable = [(path, result) for path, result in items if isinstance(result, str)]
    pixels = torch.stack([pixels for _, pixels in read]) if read else torch.empty(0)
    return DecodedBatch([path for path, _ in read], pixels, unreadable)


def _unreadable_error(unreadable: list[tuple[Path, str]], total: int) -> UnreadableError:
    shown = "; ".join(f"{path} ({cause})" for path, cause in unreadable[:5])
    more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
    return UnreadableError(
        f"{len(unreadable)} of {total} images cannot be read: {shown}{more}. "
        "Mend or remove them and run again; the other images are encoded and kept"
    )
