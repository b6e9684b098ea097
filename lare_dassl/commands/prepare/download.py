"""Downloading the files of datasets: gone on with where they stopped, retried, and checked before they count."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from lare_dassl.datasets.base.sources import Source
from lare_dassl.errors import InputError, unwritable
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
# Answers that may be others a little later, beside those of 500 and above.
PASSING_STATUS = (408, 425, 429)


class _UnfinishedError(Exception):
    """An attempt ended too early; another may do better."""


class _ChangedError(_UnfinishedError):
    """The server cannot go on with what is there; it has to be asked for the whole file."""


@dataclass(frozen=True)
class Part:
    """A download under way: `<file>.part`, and in `<file>.part.version` which version of the remote file it is.

    A download that starts over lies in `<file>.part.new` until it is longer than the part: what came first may be worth
    more, as where the new answer is that of some gateway.

    Attributes:
        target: the file that it becomes.
        suffix: of the file beside the target.
    """

    target: Path
    suffix: str = ".part"

    @property
    def path(self) -> Path:
        """What is there so far."""
        return self.target.with_name(self.target.name + self.suffix)

    @property
    def version_path(self) -> Path:
        """Holds what the server calls its version: an entity tag or a date; empty where it gave neither."""
        return self.target.with_name(f"{self.path.name}.version")

    @property
    def new(self) -> Part:
        """The download that started over."""
        return Part(self.target, ".part.new")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str:
        """The server's version of the file; "" where it is not known."""
        return self.version_path.read_text(encoding="utf-8") if self.version_path.is_file() else ""

    def clear(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self.version_path.unlink(missing_ok=True)

    def start(self, version: str) -> None:
        """Begin anew, with this version."""
        self.clear()
        self.version_path.write_text(version, encoding="utf-8")

    def settle(self) -> None:
        """Keep the longer of the part and of the download that started over; drop of the latter what has no version."""
        if self.new.size > self.size:
            self.take_new()
        elif not self.new.version:
            self.new.clear()

    def take_new(self) -> None:
        """Put the download that started over in the place of the part."""
        version = self.new.version
        # Killed in between, the part has no version rather than that of another file.
        self.version_path.unlink(missing_ok=True)
        self.new.path.replace(self.path)
        self.version_path.write_text(version, encoding="utf-8")
        self.new.clear()

    def finish(self) -> None:
        """Make it the file."""
        self.path.replace(self.target)
        self.clear()
        self.new.clear()


def download(source: Source, root: Path) -> Path:
    """Download the file of a source, going on with an earlier download that was cut off.

    Args:
        source: has a `url`.
        root: DATASET.ROOT, where the file goes.

    Returns:
        The file, of the size and checksum that the source names.

    Raises:
        InputError: no room, no such file at the address, a server that keeps failing, or another file than expected.
            What came of a download that may be gone on with is kept.
    """
    part = Part(root / source.file)
    make_folder(part.target.parent, "--root")
    try:
        part.settle()
        if source.size and part.size > source.size:
            part.clear()
        check_space(part.target.parent, source.size - part.size, f"the download of {source.file}")
        if not source.size or part.size < source.size:
            _fetch(source, part)
        _check_content(source, part)
        part.finish()
    except OSError as error:
        raise unwritable(part.path, error) from error
    return part.target


def fault_of(path: Path, source: Source) -> str:
    """What tells a file from the one that a source describes; "" where nothing does.

    Args:
        path: an existing file.
        source: its size, and then its checksum, are compared where they are known.

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
        raise InputError(f"cannot read '{path}': {error.strerror}; check its permissions") from error
    return "" if found == expected else f"its {algorithm} is {found}, expected {expected}"


def _check_content(source: Source, part: Part) -> None:
    fault = fault_of(part.path, source)
    if fault:
        part.clear()
        raise InputError(
            f"the download of {source.file} from {source.url} is not what it should be: {fault}; it is removed: run "
            "again to download it anew; if that does not help, the file there has changed"
        )


def _fetch(source: Source, part: Part) -> None:
    """Attempts until one comes to the end; those that bring something new may be as many as it takes."""
    fruitless, best, anew = 0, (part.size, part.new.size), False
    with tqdm(total=source.size or None, initial=best[0], desc=part.target.name, unit="B", unit_scale=True) as progress:
        while True:
            try:
                _attempt(source, part, progress, anew=anew)
                return
            except (requests.RequestException, urllib3.exceptions.HTTPError, _UnfinishedError) as error:
                anew = isinstance(error, _ChangedError)
                sizes = part.size, part.new.size
                fruitless = 0 if sizes[0] > best[0] or sizes[1] > best[1] else fruitless + 1
                best = max(best[0], sizes[0]), max(best[1], sizes[1])
                part.settle()
                if fruitless == FRUITLESS_ATTEMPTS:
                    raise InputError(
                        f"cannot download {source.file} from {source.url}: {' '.join(str(error).split())}; "
                        f"{show_size(part.size)} are kept: run again later to go on"
                    ) from error
                time.sleep(FIRST_WAIT_SECONDS * 2 ** (fruitless - 1))


def _attempt(source: Source, part: Part, progress: tqdm, *, anew: bool) -> None:
    """Ask for what is missing, or for the whole file, and write it as it comes."""
    under_way = part.new if part.new.size else part
    # Packed for the way, the bytes would not be those that the checksum is of.
    headers = {"Accept-Encoding": "identity"} | ({} if anew else _range_headers(under_way))
    with requests.get(source.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        _check_status(source, part, response)
        if response.status_code != requests.codes.partial_content:
            _check_answer(source, response)
            under_way = part.new if part.size else part
            under_way.start(_version(response))
        elif not _continues(response, under_way):
            raise _ChangedError("the file there has changed since the download began")
        progress.update(under_way.size - progress.n)
        length = _announced(response)
        _write(response, under_way, source.size or (length and under_way.size + length), progress)
    if under_way != part:
        part.take_new()


def _range_headers(part: Part) -> dict[str, str]:
    """Ask for what is behind the part, if the file is still the same."""
    if not part.size:
        return {}
    return {"Range": f"bytes={part.size}-"} | ({"If-Range": part.version} if part.version else {})


def _check_status(source: Source, part: Part, response: requests.Response) -> None:
    status = response.status_code
    if status == requests.codes.requested_range_not_satisfiable:
        raise _ChangedError("the file there is shorter than what was downloaded of it")
    if status >= 500 or status in PASSING_STATUS:
        raise _UnfinishedError(f"{status} {response.reason}")
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise InputError(
            f"cannot download {source.file} from {source.url}: {status} {response.reason}; has it moved? get it "
            f"yourself and put it at {part.target}"
        )


def _continues(response: requests.Response, part: Part) -> bool:
    """Whether a partial answer starts where the part ends, in the same version of the file."""
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    same_version = not part.version or _version(response) in ("", part.version)
    return start is not None and int(start[1]) == part.size and same_version


def _version(response: requests.Response) -> str:
    """What If-Range takes: a strong entity tag, or else the date of the file."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _announced(response: requests.Response) -> int:
    """Length of the answer in bytes; 0 where the server does not say."""
    return int(response.headers.get("Content-Length") or 0)


def _check_answer(source: Source, response: requests.Response) -> None:
    """Refuse an answer that is not the file, before anything of it is written."""
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(
            f"{source.url} gives a web page, not {source.file}: sign in where your network asks for that and run "
            "again, or get it elsewhere"
        )
    length = _announced(response)
    if source.size and length and length != source.size:
        raise InputError(
            f"{source.url} gives {length:,} bytes, expected {source.size:,}: it is not {source.file} any more; get it "
            "elsewhere"
        )


def _write(response: requests.Response, part: Part, expected: int, progress: tqdm) -> None:
    before = part.size
    with part.path.open("ab") as file:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            file.write(chunk)
            # So that a kill costs nothing of it.
            file.flush()
            progress.update(len(chunk))
            if expected and file.tell() > expected:
                file.truncate(before)
                break
    if expected and part.size != expected:
        raise _UnfinishedError("the answer is of another length than announced")
