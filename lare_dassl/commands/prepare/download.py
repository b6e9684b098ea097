"""Downloads of datasets' files: resumed where they stopped, tried again, and checked before they count.

Every source with an address has a size and a checksum, so a part that belongs to another version of the file is found.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from lare_dassl.datasets.base.sources import Source
from lare_dassl.errors import InputError, unreadable, unwritable
from lare_dassl.io.files import make_folder

from .disk import check_space, show_size

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
LONG_TO_READ = 10**8
# To connect, and between two pieces of the answer.
TIMEOUT_SECONDS = (10.0, 60.0)
# Attempts in a row that bring nothing new.
FRUITLESS_ATTEMPTS = 5
FIRST_WAIT_SECONDS = 1.0
# Answers below 500 that may change a little later.
PASSING_STATUS = (408, 425, 429)


class _UnfinishedError(Exception):
    """An attempt ended too early; another may do better."""


def part_of(target: Path) -> Path:
    """The file in which a download is kept until it is complete."""
    return target.with_name(f"{target.name}.part")


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def download(source: Source, root: Path) -> Path:
    """Download the file of a source, going on from an earlier download that was cut off.

    Args:
        source: has a `url`, and so a size and a checksum.
        root: DATASET.ROOT, where the file goes.

    Returns:
        The file, of the size and checksum that the source names.

    Raises:
        InputError: the disk has no room, the server has no such file, keeps failing, or has another file than expected.
            What is downloaded so far is kept, unless it is another file.
    """
    target = root / source.file
    part = part_of(target)
    make_folder(target.parent, "--root")
    try:
        if size_of(part) > source.size:
            part.unlink()
        check_space(target.parent, source.size - size_of(part), f"the download of {source.file}")
        if size_of(part) < source.size:
            _fetch(source, part)
        _check_content(source, part)
        part.replace(target)
        # Earlier versions kept notes beside the part.
        for left in target.parent.glob(f"{target.name}.part.*"):
            left.unlink()
    except OSError as error:
        raise unwritable(part, error) from error
    return target


def fault_of(path: Path, source: Source) -> str:
    """How a file differs from the one that a source describes; "" where it does not.

    Args:
        path: an existing file.
        source: its size and its checksum are compared where they are known.

    Raises:
        InputError: the file cannot be read.
    """
    size = path.stat().st_size
    if source.size and size != source.size:
        return f"it has {size:,} bytes, expected {source.size:,}"
    algorithm, _, expected = source.checksum.partition(":")
    if not expected:
        return ""
    if size > LONG_TO_READ:
        logger.info("checking %s of %s", algorithm, path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise unreadable(f"'{path}'", error) from error
    return "" if found == expected else f"its {algorithm} is {found}, expected {expected}"


def _check_content(source: Source, part: Path) -> None:
    fault = fault_of(part, source)
    if fault:
        part.unlink()
        raise InputError(
            f"the download of {source.file} from {source.url} is not what it should be: {fault}; it is removed: run "
            "again to download it anew; if that does not help, the file there has changed"
        )


def _fetch(source: Source, part: Path) -> None:
    """Try until the part is complete; only attempts in a row that bring nothing new are limited."""
    fruitless, best = 0, size_of(part)
    with tqdm(total=source.size, desc=Path(source.file).name, unit="B", unit_scale=True) as progress:
        while True:
            try:
                _attempt(source, part, progress)
                return
            except (requests.RequestException, urllib3.exceptions.HTTPError, _UnfinishedError) as error:
                fruitless = 0 if size_of(part) > best else fruitless + 1
                best = max(best, size_of(part))
                if fruitless == FRUITLESS_ATTEMPTS:
                    raise InputError(
                        f"cannot download {source.file} from {source.url}: {' '.join(str(error).split())}; "
                        f"{show_size(size_of(part))} are kept: run again later to go on"
                    ) from error
                time.sleep(FIRST_WAIT_SECONDS * 2 ** (fruitless - 1))


def _attempt(source: Source, part: Path, progress: tqdm) -> None:
    """Ask for what is missing and write it as it comes; a server that resumes nothing sends the whole file."""
    start = size_of(part)
    # A compressed transfer would not have the bytes that the checksum is of.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(source.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        _check_status(source, part, response)
        if response.status_code != requests.codes.partial_content:
            _check_whole(source, start, response)
            start = 0
        progress.n = start
        _write(response, part, start, source.size, progress)


def _check_status(source: Source, part: Path, response: requests.Response) -> None:
    """Refuse an answer that is neither the whole file nor the rest behind the part."""
    status, start = response.status_code, size_of(part)
    if status >= 500 or status in PASSING_STATUS:
        raise _UnfinishedError(f"{status} {response.reason}")
    expected = f"bytes {start}-{source.size - 1}/{source.size}"
    resumed = status == requests.codes.partial_content and response.headers.get("Content-Range") == expected
    if status == requests.codes.requested_range_not_satisfiable or (status == 206 and not resumed):
        raise InputError(
            f"{source.url} does not go on at byte {start:,} of {source.size:,}: the file there has changed; get "
            f"{source.file} elsewhere, or remove {part} and run again"
        )
    if not resumed and status != requests.codes.ok:
        raise InputError(
            f"cannot download {source.file} from {source.url}: {status} {response.reason}; has it moved? get it "
            f"yourself and put it at {part.with_name(Path(source.file).name)}"
        )


def _check_whole(source: Source, kept: int, response: requests.Response) -> None:
    """Refuse an answer that is not the file before it takes the place of the bytes that are kept."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(
            f"{source.url} gives a web page, not {source.file}: sign in where your network asks for that and run "
            "again, or get it elsewhere"
        )
    length = response.headers.get("Content-Length", "")
    if length != str(source.size) and (length or kept):
        raise InputError(
            f"{source.url} gives {length or 'an unknown number of'} bytes, expected {source.size:,}: it is not "
            f"{source.file} any more; get it elsewhere"
        )


def _write(response: requests.Response, part: Path, start: int, size: int, progress: tqdm) -> None:
    """Write an answer from a byte of the part on; unbuffered, so that a kill loses nothing of it."""
    with part.open("ab", buffering=0) as file:
        file.truncate(start)
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            file.write(chunk)
            progress.update(len(chunk))
            if file.tell() > size:
                file.truncate(start)
                break
    if size_of(part) != size:
        raise _UnfinishedError("the answer is of another length than announced")
