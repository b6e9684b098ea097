"""Images that cannot be read, each with its cause, and the messages that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lare_dassl.errors import InputError, UnreadableError

from .image_files import file_trouble, pillow_silent, read_rgb

# Unreadable images that a message names.
SHOWN = 5


def causes_if_none_is_readable(paths: Sequence[str | Path], places: Iterable[int]) -> dict[int, str]:
    """Why images cannot be read, by their places; empty as soon as one of them can be."""
    causes = {}
    for place in places:
        try:
            with pillow_silent():
                read_rgb(Path(paths[place]))
            return {}
        except InputError as error:
            causes[place] = str(error)
    return causes


def causes_by_path(
    paths: Sequence[str | Path], keys: np.ndarray, unreadable: np.ndarray, causes: Mapping[int, str]
) -> dict[Path, str]:
    """Every file that cannot be read, once, with the cause; files of the same content share it.

    Args:
        paths: of all files.
        keys: of their contents, uint8 (N, 32).
        unreadable: places of those that cannot be read.
        causes: place → cause, for one file of each content.
    """
    of_key = {keys[place].tobytes(): cause for place, cause in causes.items()}
    found = {Path(paths[place]): of_key.get(keys[place].tobytes(), "") for place in unreadable.tolist()}
    return {path: cause or file_trouble(path) or "it has just changed" for path, cause in found.items()}


def unreadable_error(causes: Mapping[Path, str], total: int, listed: Path | None = None) -> UnreadableError:
    """The refusal of images that cannot be read, of `total` asked for; `listed` is a file that names them all."""
    return UnreadableError(
        f"{len(causes)} of {total} images cannot be read: {shown_causes(causes, listed)}. "
        "Mend or remove them and run again; the other images are encoded and kept"
    )


def shown_causes(causes: Mapping[Path, str], listed: Path | None = None) -> str:
    """The first few images that cannot be read, and how many more there are; see unreadable_error."""
    shown = "; ".join(f"{path} ({cause})" for path, cause in list(causes.items())[:SHOWN])
    more = f"; and {len(causes) - SHOWN} more" if len(causes) > SHOWN else ""
    return shown + more + (f" (all of them: {listed})" if listed else "")
