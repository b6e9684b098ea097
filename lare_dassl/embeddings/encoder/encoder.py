"""From images and class names to an EmbeddingSet, through the frozen VLM and the cache. D: embedding width."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
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
from lare_dassl.errors import InputError, UnreadableError
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.system.cores import usable_cores

from .decoding import DecodedBatch, decode_image, decoded_batches
from .decoding_processes import decoded_by_processes, processes_pay
from .image_files import file_trouble, pillow_silent, read_rgb
from .threads import FittingEncoder, NotFiniteError, calls_side_by_side, encode_batches

logger = logging.getLogger(__name__)

# A shard is written after so many images, or after so long: what a kill can cost.
SHARD_ROWS = 1024
SHARD_SECONDS = 30.0
# Images, at most, by which the guard compares a low precision with fp32.
GUARD_IMAGES = 16
# Unreadable images that the message names.
SHOWN = 5
# The images of a dataset that cannot be read are missing from the cache in every run. If so few are missing, it is
# first seen whether any of them needs the model.
FEW = 64
# Other processes may remove a shard that they find damaged between two looks at it; so often it is made again.
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
        self.guarded = precision == "auto"
        self._use(vlm.resolve_precision(precision, device))
        # A model agrees with fp32 or not on one kind of device.
        self.verdict = f"agrees_with_fp32_on_{device.type}"
        self.overflow = f"overflows_on_{device.type}"
        facts = self.store.facts()
        if facts.get(self.overflow):
            logger.warning("%s has given NaN or infinity before: encoding in fp32", self.precision)
            self._use("fp32")
        elif self.guarded and facts.get(self.verdict) is False:
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
        told = _unreadable(paths, keys, np.flatnonzero(bad), causes)
        return embedding, told, EncodingReport(int((~bad).sum()), decoded)

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
        if not self.guarded or self.precision == "fp32" or self.verdict in self.store.facts():
            return
        with closing(self._decode(paths, range(len(paths)), min(self.batch_size, GUARD_IMAGES))) as batches:
            pixels = next((batch.pixels for batch in batches if batch.places), None)
        if pixels is None:
            return
        agrees = vlm.low_precision_agrees(self.model, self.source, pixels)
        self.store.remember(**{self.verdict: agrees})
        if not agrees:
            logger.warning("%s embeddings differ from fp32's on this machine: encoding in fp32", self.precision)
            self._use("fp32")

    def _encode_missing(
        self, paths: Sequence[str | Path], keys: np.ndarray, distinct: np.ndarray
    ) -> tuple[int, dict[int, str]]:
        """Encode those of the distinct images that are not cached; gives their number, and why some cannot be read."""
        missing = self._missing(keys, distinct)
        causes = self._undecodable(paths, missing) if len(missing) <= FEW else {}
        if len(causes) == len(missing):
            return 0, causes
        try:
            causes = self._encode(paths, keys, missing)
            return len(missing) - len(causes), causes
        except NotFiniteError as error:
            self._leave_low_precision(Path(paths[error.place]))
        return self._encode_missing(paths, keys, distinct)

    def _encode(self, paths: Sequence[str | Path], keys: np.ndarray, places: np.ndarray) -> dict[int, str]:
        calls = calls_side_by_side(self.device, self.batch_size)
        rows = self.batch_size // calls
        encode = FittingEncoder(self.model.encode_images, rows)
        with (
            tqdm(total=len(places), desc="encoding images", unit="img", mininterval=0.5) as progress,
            _Keeper(self.store, keys, progress) as keeper,
            closing(self._decode(paths, places.tolist(), rows)) as batches,
        ):
            encode_batches(batches, encode, calls, keeper.keep)
        return keeper.causes

    def _undecodable(self, paths: Sequence[str | Path], places: np.ndarray) -> dict[int, str]:
        """Why images cannot be read, by their places; none where the first that can be has been found."""
        causes = {}
        for place in places.tolist():
            try:
                with pillow_silent():
                    read_rgb(Path(paths[place]))
                return {}
            except InputError as error:
                causes[place] = str(error)
        return causes

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

    def _leave_low_precision(self, path: Path) -> None:
        """Go on in fp32, now and in later runs; what was encoded in low precision is not mixed with it."""
        if self.precision == "fp32":
            raise self._not_finite_error(str(path))
        self.store.remember(**{self.overflow: True})
        logger.warning("%s gives NaN or infinity for %s: encoding all images in fp32", self.precision, path)
        self._use("fp32")

    def _not_finite_error(self, what: str) -> InputError:
        advice = "check its weights" if self.precision == "fp32" else "set VLM.PRECISION fp32"
        return InputError(f"{self.source.model} gives NaN or infinity for {what} in {self.precision}: {advice}")


class _Keeper:
    """Keeps embeddings in shards of SHARD_ROWS, or of what SHARD_SECONDS give, and on the way out what is left.

    Args:
        store: where to.
        keys: of all images, uint8 (N, 32).
        progress: counts the images.

    Attributes:
        causes: place of an image that cannot be read → the cause.
    """

    def __init__(self, store: EmbeddingStore, keys: np.ndarray, progress: tqdm) -> None:
        self.store = store
        self.keys = keys
        self.progress = progress
        self.causes: dict[int, str] = {}
        self.places: list[int] = []
        self.embeddings: list[Tensor] = []
        self.kept = time.monotonic()

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        # What an interruption finds encoded is kept too.
        self._write()

    def keep(self, batch: DecodedBatch, embedding: Tensor) -> None:
        """Keep a batch with its embeddings (B, D)."""
        self.causes.update(batch.unreadable)
        if batch.places:
            self.places += batch.places
            self.embeddings.append(embedding)
        if len(self.places) >= SHARD_ROWS or time.monotonic() - self.kept > SHARD_SECONDS:
            self._write()
        self.progress.update(len(batch.places) + len(batch.unreadable))

    def _write(self) -> None:
        if self.places:
            self.store.add(self.keys[self.places], torch.cat(self.embeddings))
        self.places, self.embeddings, self.kept = [], [], time.monotonic()


def _first_of_each(keys: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The first place of each content among the files found: int64, ascending."""
    places = np.flatnonzero(found)
    return np.sort(places[np.unique(sortable(keys[places]), return_index=True)[1]])


def _unreadable(
    paths: Sequence[str | Path], keys: np.ndarray, bad: np.ndarray, causes: dict[int, str]
) -> dict[Path, str]:
    """Every file that cannot be read, once, with the cause: those of the same content are all to be mended."""
    of_key = {keys[place].tobytes(): cause for place, cause in causes.items()}
    found = {Path(paths[place]): of_key.get(keys[place].tobytes(), "") for place in bad.tolist()}
    return {path: cause or file_trouble(path) or "it has just changed" for path, cause in found.items()}


def unreadable_error(causes: Mapping[Path, str], total: int, listed: Path | None = None) -> UnreadableError:
    """The refusal of images that cannot be read.

    Args:
        causes: why each of them cannot be read.
        total: number of images asked for.
        listed: a file that names them all, if there is one.
    """
    return UnreadableError(
        f"{len(causes)} of {total} images cannot be read: {shown_causes(causes, listed)}. "
        "Mend or remove them and run again; the other images are encoded and kept"
    )


def shown_causes(causes: Mapping[Path, str], listed: Path | None = None) -> str:
    """The first few images that cannot be read, and how many more there are; see unreadable_error."""
    shown = "; ".join(f"{path} ({cause})" for path, cause in list(causes.items())[:SHOWN])
    more = f"; and {len(causes) - SHOWN} more" if len(causes) > SHOWN else ""
    return shown + more + (f" (all of them: {listed})" if listed else "")
