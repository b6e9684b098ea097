"""Classifying images with a trained run, without a dataset or a configuration. C: classes, D: embedding width."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lare_dassl import vlm
from lare_dassl.embeddings.embedding_file import unit_rows
from lare_dassl.embeddings.embedding_set import RANDOM_WEIGHTS, VLMIdentity
from lare_dassl.embeddings.encoder.decoding import decode_image
from lare_dassl.embeddings.encoder.encoder import weights_sha256
from lare_dassl.embeddings.encoder.image_files import pillow_silent, rgb_of
from lare_dassl.errors import InputError

from . import record
from .classifier_file import FILE_NAME, SavedClassifier, read_classifier

ImageSource = str | Path | Image.Image
TOP = 5
BATCH_SIZE = 64


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one image, the likeliest first.

    Attributes:
        path: of the image; None for one that was given as a PIL image.
        names: of K classes.
        probabilities: of these classes, in [0, 1].

    >>> Prediction(Path("bird.jpg"), ("owl", "crow"), (0.9, 0.1)).names[0]
    'owl'
    """

    path: Path | None
    names: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read.

    Attributes:
        path: of the image; None for one that was given as a PIL image.
        cause: in a few words.
    """

    path: Path | None
    cause: str


@dataclass(frozen=True, eq=False, repr=False)
class ImageClassifier:
    """A trained classifier with the frozen model in front of it, which is loaded when the first image comes.

    Images go into no cache. `load_classifier` makes one from a file.

    Attributes:
        saved: content of the classifier file.
        path: of the file, for messages.
        backbone: the frozen model, where it goes by another name here than when the run was trained.
        pretrained: its weights, where they have moved; refused if they are others.
        batch_size: images per encoder call.

    Raises:
        InputError: batch_size < 1.

    >>> vlm = VLMIdentity("none", "", "", embedding_dim=2, logit_scale=100.0)
    >>> saved = SavedClassifier(torch.nn.Linear(2, 3), ("cat", "dog", "owl"), 1.0, 0, vlm)
    >>> ImageClassifier(saved, Path("classifier.safetensors")).probabilities(torch.eye(2)).shape
    torch.Size([2, 3])
    """

    saved: SavedClassifier
    path: Path
    _: KW_ONLY
    backbone: str = ""
    pretrained: str = ""
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"the batch size must be at least 1, not {self.batch_size}")

    @property
    def classnames(self) -> tuple[str, ...]:
        """Names of the C classes."""
        return self.saved.classnames

    @property
    def calibrated(self) -> bool:
        """True if the temperature was fitted on validation images; else it is 1."""
        return self.saved.calibration_rows > 0

    @torch.no_grad()
    def logits(self, embeddings: Tensor) -> Tensor:
        """Logits, float32 (N, C), of image embeddings (N, D) of the frozen model that the run was trained on.

        Raises:
            InputError: another shape or type, or a row that is NaN, infinite or zero.
        """
        rows = unit_rows(embeddings.cpu(), "embeddings")
        if rows.shape[1] != self.saved.vlm.embedding_dim:
            raise InputError(f"embeddings must be {self.saved.vlm.embedding_dim} wide, not {rows.shape[1]}")
        logits: Tensor = self.saved.module(rows)
        return logits

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Class probabilities, float64 (N, C), of image embeddings (N, D): softmax(logits / temperature).

        Raises:
            InputError: see logits.
        """
        return (self.logits(embeddings).double() / self.saved.temperature).softmax(dim=1)

    def classify(self, images: Sequence[ImageSource], top: int = TOP) -> list[Prediction]:
        """The likeliest classes of each image.

        Args:
            images: paths of files, or PIL images.
            top: how many classes of each, at most C.

        Raises:
            InputError: an image cannot be read (`stream` gives the others), the frozen model is not to be had or is
                not the one of the training, or top < 1.
        """
        outcomes = list(self.stream(images, top))
        unreadable = [outcome for outcome in outcomes if isinstance(outcome, Unreadable)]
        if unreadable:
            first = f"{unreadable[0].path or 'a PIL image'} ({unreadable[0].cause})"
            raise InputError(f"{len(unreadable)} of {len(outcomes)} images cannot be read, the first is {first}")
        return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]

    def stream(self, images: Sequence[ImageSource], top: int = TOP) -> Iterator[Prediction | Unreadable]:
        """The outcome of each image, in their order, batch after batch; see classify.

        Raises:
            InputError: as classify does, but for images that cannot be read.
        """
        if isinstance(images, str | Path | Image.Image):
            raise InputError(f"give a list of images, such as [{str(images)!r}], not one alone")
        if top < 1:
            raise InputError(f"the number of classes to name must be at least 1, not {top}")
        decode = partial(_decode, preprocess=self.frozen_model.preprocess)
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(images), self.batch_size):
                batch = images[start : start + self.batch_size]
                with pillow_silent():
                    decoded = list(pool.map(decode, batch))
                yield from self._classify_batch(batch, decoded, top)

    def _classify_batch(
        self, images: Sequence[ImageSource], decoded: Sequence[Tensor | str], top: int
    ) -> Iterator[Prediction | Unreadable]:
        read = [pixels for pixels in decoded if isinstance(pixels, Tensor)]
        probabilities = iter(self.probabilities(self.frozen_model.encode_images(torch.stack(read))) if read else ())
        for image, result in zip(images, decoded, strict=True):
            path = None if isinstance(image, Image.Image) else Path(image)
            if isinstance(result, str):
                yield Unreadable(path, result)
            else:
                yield self._prediction(path, next(probabilities), top)

    def _prediction(self, path: Path | None, probabilities: Tensor, top: int) -> Prediction:
        # Of equal ones the first counts, as everywhere in evaluation.
        order = probabilities.argsort(descending=True, stable=True)[:top].tolist()
        return Prediction(
            path,
            tuple(self.classnames[label] for label in order),
            tuple(probabilities[label].item() for label in order),
        )

    @cached_property
    def frozen_model(self) -> vlm.FrozenVLM:
        """The frozen model, with the weights, the preprocessing and the precision of the training.

        Raises:
            InputError: it is not to be had here, or its weights are others.
        """
        identity = self.saved.vlm
        if not (self.backbone or identity.model):
            raise InputError(
                f"{self.path} was trained on embeddings that do not say which model they are of: "
                "name it (--backbone, --pretrained), or give embeddings to logits()"
            )
        try:
            source = _find_source(identity, self.backbone, self.pretrained)
        except InputError as error:
            raise InputError(f"the frozen model of {self.path} (--backbone, --pretrained): {error}") from error
        self._check_weights(source)
        return vlm.load(source, identity.precision or "fp32", vlm.available_device())

    def _check_weights(self, source: vlm.VLMSource) -> None:
        trained, here = self.saved.vlm.weights_sha256, weights_sha256(source)
        if trained and here != trained:
            raise InputError(
                f"{self.path} was trained with other weights of {self.saved.vlm.model} (sha256 {trained[:12]}...) than "
                f"{source.weights or 'random ones'} ({here[:12]}...): name the right file by --pretrained"
            )


def load_classifier(
    path: str | Path, *, backbone: str = "", pretrained: str = "", batch_size: int = BATCH_SIZE
) -> ImageClassifier:
    """The trained classifier of a run.

    Args:
        path: the run's folder, or its classifier.safetensors.
        backbone, pretrained, batch_size: see ImageClassifier.

    Raises:
        InputError: there is no classifier, its file is damaged or another run's, or batch_size < 1.

    >>> load_classifier("no_such_folder")
    Traceback (most recent call last):
    lare_dassl.errors.InputError: there is no file no_such_folder
    """
    file = Path(path).expanduser()
    if file.is_dir():
        file = _file_in(file)
    return ImageClassifier(read_classifier(file), file, backbone=backbone, pretrained=pretrained, batch_size=batch_size)


def _decode(image: ImageSource, preprocess: Callable[[Image.Image], Tensor]) -> Tensor | str:
    """Preprocessed pixels (3, H, W), or why the image cannot be read."""
    try:
        if isinstance(image, Image.Image):
            return preprocess(rgb_of(image))
        return decode_image(Path(image), preprocess)
    except (InputError, OSError) as error:
        return str(error)


def _file_in(folder: Path) -> Path:
    file = folder / FILE_NAME
    if file.is_file():
        return file
    if (folder / record.FILE_NAME).is_file():
        raise InputError(
            f"{folder} holds a run but no {FILE_NAME}, which older versions did not write: run it again, or repeat its "
            f"command with --eval-only --model-dir {folder} --output-dir {folder}"
        )
    raise InputError(f"{folder} holds no finished run ({FILE_NAME} is missing)")


def _find_source(identity: VLMIdentity, backbone: str, pretrained: str) -> vlm.VLMSource:
    """The frozen model here, with the preprocessing of the training, which is not in a weights file."""
    source = vlm.resolve(
        backbone or identity.model,
        pretrained or ("" if backbone else identity.pretrained),
        allow_random=identity.weights_sha256 == RANDOM_WEIGHTS,
    )
    return replace(source, preprocess=json.loads(identity.preprocess)) if identity.preprocess else source
