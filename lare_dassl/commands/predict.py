"""The command `predict`: classify image files with a trained run, and show the outcome."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from tqdm import tqdm

from lare_dassl.config.request import PredictRequest
from lare_dassl.datasets.base.image_tree import images_in
from lare_dassl.errors import InputError, printable
from lare_dassl.results.image_classifier import Prediction, Unreadable, load_classifier

INTERRUPTED = 130


def predict(request: PredictRequest) -> None:
    """Run tools/predict.py.

    Raises:
        InputError: there is no such run or model, a folder holds no image, or some images cannot be read; all others
            are classified and shown by then.
        SystemExit: Ctrl-C, said in one line.
    """
    try:
        _predict(request)
    except KeyboardInterrupt as error:
        sys.stderr.write("interrupted\n")
        raise SystemExit(INTERRUPTED) from error


def _predict(request: PredictRequest) -> None:
    classifier = load_classifier(
        request.model_dir,
        backbone=request.backbone,
        pretrained=request.pretrained,
        batch_size=request.batch_size,
    )
    paths = find_images(request.images)
    if not classifier.calibrated:
        sys.stderr.write("note: probabilities are not calibrated, for the run had no validation images\n")
    unreadable: list[Unreadable] = []
    show = show_lines if request.json else show_table
    bar = {"desc": "classifying images", "unit": "img", "mininterval": 0.5}
    with tqdm(classifier.stream(paths, request.top), total=len(paths), **bar) as outcomes:
        show(_readable(outcomes, unreadable))
    for image in unreadable:
        sys.stderr.write(f"cannot read {printable(str(image.path))}: {printable(image.cause)}\n")
    if unreadable:
        rest = "all others are classified" if len(unreadable) < len(paths) else "there are no others"
        raise InputError(f"{len(unreadable)} of {len(paths)} images cannot be read, {rest}")


def find_images(places: Sequence[str]) -> list[Path]:
    """The image files that are named, and those below the folders that are named.

    Raises:
        InputError: a folder holds no image, or cannot be read.
    """
    return list(chain.from_iterable(_images_at(Path(place)) for place in places))


def _images_at(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = [place / name for name in images_in(place)]
    if not found:
        raise InputError(f"there is no image below {place}")
    return found


def _readable(outcomes: Iterable[Prediction | Unreadable], unreadable: list[Unreadable]) -> Iterator[Prediction]:
    """The predictions alone; images that cannot be read are put into a list."""
    for outcome in outcomes:
        if isinstance(outcome, Unreadable):
            unreadable.append(outcome)
        else:
            yield outcome


def show_lines(predictions: Iterable[Prediction]) -> None:
    """Print one JSON object for each image, as they come, in ASCII."""
    console = Console(file=sys.stdout)
    for prediction in predictions:
        classes = zip(prediction.names, prediction.probabilities, strict=True)
        ranked = [{"class": name, "probability": probability} for name, probability in classes]
        # On a terminal the progress bar makes way for the line.
        with tqdm.external_write_mode() if sys.stdout.isatty() else nullcontext():
            console.out(json.dumps({"path": str(prediction.path), "predictions": ranked}), highlight=False)


def show_table(predictions: Iterable[Prediction]) -> None:
    """Print a table with a row for each class of each image."""
    # Long names are folded: one that is cut off names nothing.
    table = Table(Column("image", overflow="fold"), Column("class", overflow="fold"), "probability, %")
    for prediction in predictions:
        ranked = zip(prediction.names, prediction.probabilities, strict=True)
        for place, (name, probability) in enumerate(ranked):
            image = printable(str(prediction.path)) if place == 0 else ""
            # As Text, so that no name is taken for markup.
            table.add_row(Text(image), Text(printable(name)), f"{100 * probability:.1f}")
    if table.row_count:
        Console(file=sys.stdout, highlight=False).print(table)
