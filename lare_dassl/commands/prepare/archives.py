"""Unpacking archives that nobody vouches for: everything is checked before anything is written."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tqdm import tqdm

from lare_dassl.errors import InputError, unwritable

from .disk import check_space, show_size

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
CHUNK = 1 << 20
MAX_MEMBERS = 1_000_000
# Folders above the one that is looked for.
MAX_DEPTH = 3
# The most that the headers of a tar's member, or the padding at the end, may take; real ones take some kilobytes.
MAX_HEADER = MAX_PADDING = 1 << 24
# macOS puts what its disk knows of the files beside them.
LEFT_OUT = "__MACOSX"
# What stands before each file of a zip: signature, version, flags, method, time, date, checksum, packed size, size, and
# the lengths of name and extra field; by a flag and by a number the sizes are told to stand elsewhere.
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
SIZE_FOLLOWS, SIZE_ELSEWHERE = 8, 2**32 - 1
END_OF_TAR = bytes(tarfile.BLOCKSIZE)
# What zipfile and tarfile raise for damage, and, in the last two lines, for headers that they do not expect.
DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    *(ValueError, LookupError, ArithmeticError, RuntimeError),
)


class _RefusedError(Exception):
    """The archive holds something that is not unpacked; the message says what."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as the archive has it.
        kind: "file", "folder", or in words what else it is.
        size: of the file in bytes, as the archive declares it.
        handle: how the archive itself names it.
    """

    name: str
    kind: str
    size: int
    handle: Any


class Archive(Protocol):
    """What a zip and a tar have in common."""

    def members(self) -> Iterator[Member]:
        """All entries, in their order."""

    def open(self, member: Member) -> IO[bytes]:
        """The content of a file."""


class _Zip:
    def __init__(self, file: IO[bytes]) -> None:
        self.whole, self.file = file, zipfile.ZipFile(file)

    def members(self) -> Iterator[Member]:
        for info in self.file.infolist():
            member = Member(info.orig_filename, _zip_kind(info), info.file_size, info)
            if member.kind in ("file", "folder"):
                self._check_listing(info)
            yield member

    def _check_listing(self, info: zipfile.ZipInfo) -> None:
        """Compare the listing with what stands before the file itself: damaged alone, it would leave the file out."""
        # This compares the names.
        self.file.open(info).close()
        self.whole.seek(info.header_offset)
        _, _, flags, *_, checksum, _, size, _, _ = LOCAL_HEADER.unpack(self.whole.read(LOCAL_HEADER.size))
        known = not flags & SIZE_FOLLOWS and size != SIZE_ELSEWHERE
        if known and (checksum, size) != (info.CRC, info.file_size):
            raise zipfile.BadZipFile(f"{info.orig_filename!r} is listed with another size or checksum than its own")

    def open(self, member: Member) -> IO[bytes]:
        return self.file.open(member.handle)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    unix_kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 1:
        return "an encrypted file"
    if unix_kind == stat.S_IFLNK:
        return "a link"
    if unix_kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device"
    return "folder" if info.orig_filename.endswith("/") else "file"


class _Tar:
    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self.whole, self.stream = stream, _SmallReads(stream)
        self.file = tarfile.TarFile(fileobj=self.stream)  # type: ignore[arg-type]

    def members(self) -> Iterator[Member]:
        for info in self.file:
            yield Member(info.name, _tar_kind(info), info.size, info)
            self.stream.taken = 0
        # tarfile takes the end of the file, or a header it cannot read, for the end of the archive.
        if self.stream.last != END_OF_TAR:
            raise tarfile.ReadError("it has no end")
        self._read_to_the_end()

    def _read_to_the_end(self) -> None:
        """Behind the last member there is padding, and then the checksum of the whole, which shows damage."""
        padding = 0
        while chunk := self.whole.read(CHUNK):
            padding += len(chunk)
            if padding > MAX_PADDING:
                raise _RefusedError("it goes on behind its end")

    def open(self, member: Member) -> IO[bytes]:
        self.stream.taken = -member.size
        content = self.file.extractfile(member.handle)
        if content is None:
            raise tarfile.ReadError(f"{member.name!r} has no content")
        return content


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() and info.size >= 0 else "a device"


class _SmallReads:
    """A stream for tarfile, which reads headers into memory whatever length and number they have.

    Attributes:
        stream: what is read.
        taken: bytes read of the headers of one member.
        last: the last piece that was read.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.taken, self.last = 0, b""

    def read(self, size: int) -> bytes:
        self.taken += size
        if self.taken > MAX_HEADER:
            raise _RefusedError(f"the headers of one member take {show_size(self.taken)}")
        self.last = self.stream.read(size)
        return self.last


def _open(file: IO[bytes]) -> Archive:
    """An archive by what is in it, since downloads often have another suffix."""
    start = file.read(2)
    file.seek(0)
    if start == b"PK":
        return _Zip(file)
    return _Tar(gzip.GzipFile(fileobj=file) if start == b"\x1f\x8b" else file)


def unpack(path: Path, target: Path, holds: Sequence[str], limit: int, advice: str) -> None:
    """Unpack one folder of an archive. It appears at once when it is complete, so a kill leaves nothing that counts.

    Args:
        path: a zip, tar, or tar.gz.
        target: the folder that it becomes; its parent exists.
        holds: names right in the folder, by which it is found in the archive; the shallowest such folder is taken.
        limit: the most bytes that all files of the archive may take.
        advice: how to get the archive anew, for the messages.

    Raises:
        InputError: the archive is damaged; it does not have the folder; it has a path outside of it, a name with a
            colon or control character, a link, a device, two members of one name (or of names that are one on some
            systems), more than `limit` bytes, or more members than any dataset; or the disk is full.
    """
    try:
        with path.open("rb") as file:
            _unpack_opened(_open(file), target, holds, limit)
    except _RefusedError as error:
        raise InputError(f"'{path}' is not unpacked: {error}; {advice}") from error
    except DAMAGES as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{path}' ({path.stat().st_size:,} bytes) is half-downloaded, damaged or no archive ({cause}): {advice}"
        ) from error
    except OSError as error:
        raise unwritable(f"'{path}' to '{target}'", error, verb="unpack") from error


def _unpack_opened(archive: Archive, target: Path, holds: Sequence[str], limit: int) -> None:
    members = check_members(archive.members(), limit)
    folder = find_folder(members, holds)
    prefix = f"{folder}/" if folder else ""
    wanted = {
        name.removeprefix(prefix): member
        for name, member in members.items()
        if name.startswith(prefix) and member.kind == "file" and name.split("/", 1)[0] != LEFT_OUT
    }
    check_space(target.parent, sum(member.size for member in wanted.values()), f"unpacking {target.name}")
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_files(archive, wanted, temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_members(members: Iterable[Member], limit: int) -> dict[str, Member]:
    """The members of an archive by their paths, with forward slashes; refuses all that is not plain files and folders.

    Args:
        members: as the archive lists them.
        limit: the most bytes that they may take together.

    Raises:
        _RefusedError: see unpack.
    """
    checked: dict[str, Member] = {}
    taken: dict[str, tuple[str, bool]] = {}
    total = 0
    for count, member in enumerate(members, start=1):
        total += member.size
        if member.kind not in ("file", "folder"):
            raise _RefusedError(f"{member.name!r} is {member.kind}")
        if total > limit:
            raise _RefusedError(f"it unpacks to more than {show_size(limit)}")
        if count > MAX_MEMBERS:
            raise _RefusedError(f"it has more than {MAX_MEMBERS:,} members")
        name = _safe_name(member.name)
        _take_name(taken, name, member.kind == "file")
        checked[name] = member
    checked.pop("", None)
    return checked


def _safe_name(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:|.*\\", name, re.DOTALL):
        raise _RefusedError(f"{name!r} is a path outside of it")
    # Behind a colon some systems write to a stream that no listing shows.
    if re.search(r"[:\x00-\x1f\x7f-\x9f]", name):
        raise _RefusedError(f"{name!r} has a colon or a control character")
    return "/".join(parts)


def _take_name(taken: dict[str, tuple[str, bool]], name: str, is_file: bool) -> None:
    """Note a name and the folders above it; two that some system takes for one would overwrite each other there."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        path, path_is_file = "/".join(parts[:depth]), is_file and depth == len(parts)
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = taken.get(key)
        if known and known[0] != path:
            raise _RefusedError(f"{known[0]!r} and {path!r} are one name on some systems")
        # A folder is named again with each of its files; a file is not.
        if known and (known[1] or path_is_file):
            raise _RefusedError(f"it has {path!r} twice")
        taken[key] = (path, path_is_file)


def find_folder(members: Mapping[str, Member], holds: Sequence[str]) -> str:
    """The path of the shallowest folder that has all of some names right in it; "" is the archive itself.

    Raises:
        _RefusedError: there is none, or there are two.
    """
    paths = {"/".join(name.split("/")[:depth]) for name in members for depth in range(1, name.count("/") + 2)}
    folders = {path.rpartition("/")[0] for path in paths if path.rpartition("/")[2] == holds[0]}
    found = [
        folder
        for folder in folders
        if all(f"{folder}/{name}".lstrip("/") in paths for name in holds)
        and _depth(folder) <= MAX_DEPTH
        and folder.split("/", 1)[0] != LEFT_OUT
    ]
    shallowest = sorted(folder for folder in found if _depth(folder) == min(map(_depth, found)))
    if not shallowest:
        raise _RefusedError(f"it has no folder with {', '.join(holds)} in it")
    if len(shallowest) > 1:
        raise _RefusedError(f"{', '.join(holds)} are in both {shallowest[0]!r} and {shallowest[1]!r}")
    return shallowest[0]


def _depth(folder: str) -> int:
    return len(folder.split("/")) if folder else 0


def _write_files(archive: Archive, files: Mapping[str, Member], folder: Path) -> None:
    total = sum(member.size for member in files.values())
    with tqdm(total=total, desc="unpacking", unit="B", unit_scale=True, mininterval=0.5) as progress:
        for name, member in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as content, path.open("xb") as file:
                _copy(content, file, member, progress)


def _copy(content: IO[bytes], file: IO[bytes], member: Member, progress: tqdm) -> None:
    while chunk := content.read(CHUNK):
        file.write(chunk)
        progress.update(len(chunk))
    if file.tell() != member.size:
        raise EOFError(f"{member.name!r} has {file.tell():,} bytes, not the {member.size:,} that it declares")
