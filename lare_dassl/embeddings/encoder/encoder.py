"""Encoding images and texts with the frozen VLM, through the cache. N: images or texts, D: embedding width."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lare_dassl import vlm
from lare_dassl.embeddings.cache.hashes import FileHashes, text_key
from lare_dassl.embeddings.cache.keys import keys_from_hex, sortable
from lare_dassl.embeddings.cache.store import EmbeddingStore, GoneError
from lare_dassl.embeddings.embedding_set import RANDOM_WEIGHTS, VLMIdentity
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.system.cores import usable_cores

from .decoding import DecodedBatch, decode_image, decoded_batches
from .decoding_processes import decoded_by_processes, processes_pay
from .precision_guard import PrecisionGuard
from .shard_keeper import ShardKeeper
from .threads import FittingEncoder, NotFiniteError, calls_side_by_side, encode_batches
from .unreadable import causes_by_path, causes_if_none_is_readable, unreadable_error

logger = logging.getLogger(__name__)

# Images, at most, on which a low precision is compared with fp32.
GUARD_IMAGES = 16
# The unreadable images of a dataset are missing from the cache in every run. If no more images than this are missing,
# they are opened first, so that the model is not loaded for unreadable ones alone.
FEW = 64
# Attempts to gather embeddings: other processes may remove a damaged shard between the check and the reading.
ATTEMPTS = 5


@dataclass(frozen=True)
class EncodingReport:
    """What an encoding did.

    Attributes:
        images: images that could be read.
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
        precision: "auto", "fp32", "bf16" or "fp16"; auto falls back to fp32 where bf16 does not agree with it, and all
            do where they give NaN or infinity.
        device: where to encode.
        folder: of the cache.
        batch_size: images in the encoder at a time.
        num_workers: threads that decode images, at least one; for a GPU all cores decode, many images in processes.

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
        self.guard = PrecisionGuard(precision, device)
        self._open_store()
        if self.guard.recall(self.store):
            self._open_store()

    @property
    def precision(self) -> str:
        """The precision in use, "fp32", "bf16" or "fp16"."""
        return self.guard.precision

    @functools.cached_property
    def model(self) -> vlm.FrozenVLM:
        """The model in this precision, loaded when it is first needed."""
        logger.info("loading %s (%s) on %s", self.source.model, self.precision, self.device)
        return vlm.load(self.source, self.precision, self.device)

    def _open_store(self) -> None:
        """Open the store of the precision in use; a model in another precision is dropped."""
        self.store = EmbeddingStore(self.folder, self.source.fingerprint(self.weights_sha256, self.precision))
        vars(self).pop("model", None)

    def _hash_weights(self) -> str:
        known = self.hashes([self.source.weights]) if self.source.weights else {}
        return next(iter(known.values()), "") or weights_sha256(self.source)

    def identity(self) -> VLMIdentity:
        """The model that encodes, with its precision."""
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
        """Unit-length embeddings of texts: float32 (N, D).

        Raises:
            InputError: the model gives NaN or infinity for a text.
        """
        keys = [text_key(text) for text in texts]
        by_key = dict(zip(keys, texts, strict=True))

        def fill() -> np.ndarray:
            self._add_texts(by_key)
            return keys_from_hex(keys)

        return self._gathered(fill)

    def _add_texts(self, by_key: dict[str, str]) -> None:
        missing = self.store.missing(by_key)
        if missing:
            embedding = self.model.encode_texts([by_key[key] for key in missing])
            for place in (~embedding.isfinite().all(dim=1)).nonzero():
                raise self._not_finite_error(f"the text '{by_key[missing[int(place)]]}'")
            self.store.add(missing, embedding)

    def _gathered(self, fill: Callable[[], np.ndarray]) -> Tensor:
        """The embeddings of the keys, uint8 (N, 32), that `fill` gives, and puts into the store: float32 (N, D)."""
        for _ in range(ATTEMPTS - 1):
            keys = fill()
            try:
                return self.store.gather(keys)
            except GoneError as error:
                logger.warning("another process has removed embeddings: they are encoded again (%s)", error)
        return self.store.gather(fill())

    def encode_images(self, paths: Sequence[str | Path]) -> tuple[Tensor, EncodingReport]:
        """Unit-length embeddings of image files: float32 (N, D).

        Raises:
            InputError: some images cannot be read; it counts and names them, and all others are in the cache by then.
                Or the model gives NaN or infinity for an image even in fp32.
        """
        embedding, unreadable, report = self.encode_readable(paths)
        if unreadable:
            raise unreadable_error(unreadable, len(paths))
        return embedding, report

    def encode_readable(self, paths: Sequence[str | Path]) -> tuple[Tensor, dict[Path, str], EncodingReport]:
        """Unit-length embeddings of those image files that can be read: float32 (N, D); and why the others cannot.

        Raises:
            InputError: the model gives NaN or infinity for an image even in fp32.
        """
        keys, found, distinct = self._contents(paths)
        decoded = 0
        causes: dict[int, str] = {}

        def fill() -> np.ndarray:
            nonlocal decoded, causes
            missing, causes = self._encode_missing(paths, keys, distinct)
            decoded += missing
            return keys[~unreadable()]

        def unreadable() -> np.ndarray:
            return ~found | np.isin(sortable(keys), sortable(keys[list(causes)]))

        embedding = self._gathered(fill)
        bad = unreadable()
        unread = causes_by_path(paths, keys, np.flatnonzero(bad), causes)
        return embedding, unread, EncodingReport(int((~bad).sum()), decoded)

    def missing_images(self, paths: Sequence[str | Path]) -> list[Path]:
        """The readable files among `paths` that encode_images would encode, in its order, and in the precision found.

        Of files of the same content one is named.
        """
        keys, _, distinct = self._contents(paths)
        return [Path(paths[place]) for place in self._missing(keys, distinct)]

    def _contents(self, paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The keys of files, uint8 (N, 32), which could be read, bool (N,), and the first place of each content.

        The precision is checked on them first of all, since that may change it, and with it the store.
        """
        keys, found = self.hashes.keys(paths)
        distinct = _first_of_each(keys, found)
        self._check_precision([Path(paths[place]) for place in distinct[: 4 * GUARD_IMAGES]])
        return keys, found, distinct

    def _missing(self, keys: np.ndarray, distinct: np.ndarray) -> np.ndarray:
        """Those of the distinct places whose images are not in the cache."""
        return distinct[~self.store.holds(keys[distinct])]

    def _check_precision(self, paths: Sequence[Path]) -> None:
        if not self.guard.must_compare(self.store):
            return
        with closing(self._decode(paths, range(len(paths)), min(self.batch_size, GUARD_IMAGES))) as batches:
            pixels = next((batch.pixels for batch in batches if batch.places), None)
        if pixels is not None and self.guard.compare(self.model, self.source, self.store, pixels):
            self._open_store()

    def _encode_missing(
        self, paths: Sequence[str | Path], keys: np.ndarray, distinct: np.ndarray
    ) -> tuple[int, dict[int, str]]:
        """Encode those of the distinct images that are not cached; gives their number, and why some cannot be read."""
        missing = self._missing(keys, distinct)
        causes = causes_if_none_is_readable(paths, missing.tolist()) if len(missing) <= FEW else {}
        if len(causes) == len(missing):
            return 0, causes
        try:
            causes = self._encode(paths, keys, missing)
            return len(missing) - len(causes), causes
        except NotFiniteError as error:
            path = str(paths[error.place])
            if self.precision == "fp32":
                raise self._not_finite_error(path) from error
            # What was encoded in low precision stays in its own store.
            self.guard.note_overflow(self.store, path)
            self._open_store()
        return self._encode_missing(paths, keys, distinct)

    def _encode(self, paths: Sequence[str | Path], keys: np.ndarray, places: np.ndarray) -> dict[int, str]:
        calls = calls_side_by_side(self.device, self.batch_size)
        rows = self.batch_size // calls
        encode = FittingEncoder(self.model.encode_images, rows)
        with (
            tqdm(total=len(places), desc="encoding images", unit="img", mininterval=0.5) as progress,
            ShardKeeper(self.store, keys, progress) as keeper,
            closing(self._decode(paths, places.tolist(), rows)) as batches,
        ):
            encode_batches(batches, encode, calls, keeper.keep)
        return keeper.causes

    def _decode(
        self, paths: Sequence[str | Path], places: Sequence[int], batch_size: int
    ) -> Generator[DecodedBatch, None, None]:
        resize = self.model.parts.resize
        if processes_pay(self.device, len(places)):
            return decoded_by_processes(
                paths, resize, places, batch_size, processes=usable_cores(), ahead=2 * self.batch_size
            )
        return decoded_batches(
            lambda place: decode_image(Path(paths[place]), resize),
            places,
            batch_size,
            threads=max(1, self.num_workers if self.device.type == "cpu" else usable_cores()),
            ahead=2 * self.batch_size,
        )

    def _not_finite_error(self, what: str) -> InputError:
        advice = "check its weights" if self.precision == "fp32" else "set VLM.PRECISION fp32"
        return InputError(f"{self.source.model} gives NaN or infinity for {what} in {self.precision}: {advice}")


def _first_of_each(keys: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The first place of each content among the files found: int64, ascending."""
    places = np.flatnonzero(found)
    return np.sort(places[np.unique(sortable(keys[places]), return_index=True)[1]])
