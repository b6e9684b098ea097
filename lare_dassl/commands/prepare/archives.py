"""Unpacking archives of unknown origin: every member is checked before anything is written."""

from __future__ import annotations

import gzip
import lzma
import math
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from lare_dassl.errors import InputError, unwritable
from lare_dassl.io.files import scratch_folder

from .disk import check_space, show_size

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar")
CHUNK = 1 << 20
MAX_MEMBERS = 1_000_000
# Folders above the one that is looked for.
MAX_DEPTH = 3
# Most bytes of the headers of a tar's member; real ones take some kilobytes.
MAX_HEADER = 1 << 24
# macOS keeps its notes on files there.
LEFT_OUT = "__MACOSX"
# What stands before each file of a zip: signature, version, flags, method, time, date, checksum, packed size, size, and
# the lengths of name and extra field. The flag and the size below say that the real size stands elsewhere.
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
SIZE_FOLLOWS, SIZE_ELSEWHERE = 8, 2**32 - 1
# What zipfile and tarfile raise for damage, and, in the last line, for headers that they do not expect.
DAMAGES = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
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
        info: the entry as zipfile or tarfile knows it.
    """

    name: str
    kind: str
    size: int
    info: Any


class _Zip:
    """A zip, whose listing must agree with the headers of the files themselves."""

    def __init__(self, file: IO[bytes]) -> None:
        self.whole, self.file = file, zipfile.ZipFile(file)

    def members(self) -> Iterator[Member]:
        for info in self.file.infolist():
            member = Member(info.orig_filename, _zip_kind(info), info.file_size, info)
            if member.kind in ("file", "folder"):
                self._check_listing(info)
            yield member

    def _check_listing(self, info: zipfile.ZipInfo) -> None:
        """Compare name, size and checksum; a file with damage in the listing alone would be unpacked empty."""
        self.file.open(info).close()
        self.whole.seek(info.header_offset)
        _, _, flags, *_, checksum, _, size, _, _ = LOCAL_HEADER.unpack(self.whole.read(LOCAL_HEADER.size))
        known = not flags & SIZE_FOLLOWS and size != SIZE_ELSEWHERE
        if known and (checksum, size) != (info.CRC, info.file_size):
            raise zipfile.BadZipFile(f"{info.orig_filename!r} is listed with another size or checksum than its own")

    def extract(self, member: Member, folder: Path) -> None:
        self.file.extract(member.info, folder)


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
    """A tar, plain or with gzip, which must have its end."""

    def __init__(self, file: IO[bytes], packed: bool) -> None:
        self.stream = _LimitedReads(gzip.GzipFile(fileobj=file) if packed else file)
        self.file = tarfile.TarFile(fileobj=self.stream)  # type: ignore[arg-type]

    def members(self) -> Iterator[Member]:
        for info in self.file:
            yield Member(info.name, _tar_kind(info), info.size, info)
            self.stream.left = MAX_HEADER
        # tarfile takes the end of the file, or a header it cannot read, for the end of the archive.
        if self.stream.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it has no end")
        # gzip's checksum of the whole stands behind the padding.
        while self.stream.file.read(CHUNK):
            pass
        self.stream.left = math.inf

    def extract(self, member: Member, folder: Path) -> None:
        self.file.extract(member.info, folder, filter="data")


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() and info.size >= 0 else "a device"


class _LimitedReads:
    """A stream for tarfile, which would read headers into memory whatever length and number they have.

    Attributes:
        file: what is read.
        left: bytes that may be read until it is set again.
        last: the last piece that was read.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell
        self.left: float = MAX_HEADER
        self.last = b""

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise _RefusedError(f"the headers of one member take more than {show_size(MAX_HEADER)}")
        self.last = self.file.read(size)
        return self.last


def _opened(file: IO[bytes]) -> _Zip | _Tar:
    """An archive by its first bytes, since downloads often have another suffix."""
    start = file.read(2)
    file.seek(0)
    return _Zip(file) if start == b"PK" else _Tar(file, packed=start == b"\x1f\x8b")


def unpack(path: Path, target: Path, holds: Sequence[str], limit: int, advice: str) -> None:
    """Unpack one folder of an archive. It appears when it is complete, so a kill leaves nothing that counts.

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
            archive = _opened(file)
            members = check_members(archive.members(), limit)
            _extract(archive, members, target, find_folder(members, holds))
    except _RefusedError as error:
        raise InputError(f"'{path}' is not unpacked: {error}; {advice}") from error
    except DAMAGES as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{path}' ({path.stat().st_size:,} bytes) is half-downloaded, damaged or no archive ({cause}): {advice}"
        ) from error
    except OSError as error:
        raise unwritable(f"'{path}' to '{target}'", error, verb="unpack") from error


def _extract(archive: _Zip | _Tar, members: Mapping[str, Member], target: Path, folder: str) -> None:
    """Extract the files below a folder of the archive, which becomes the target."""
    wanted = [
        member
        for name, member in members.items()
        if name.startswith(f"{folder}/" if folder else "") and member.kind == "file" and not _is_left_out(name)
    ]
    total = sum(member.size for member in wanted)
    check_space(target.parent, total, f"unpacking {target.name}")
    with (
        scratch_folder(target) as scratch,
        tqdm(total=total, desc="unpacking", unit="B", unit_scale=True, mininterval=0.5) as progress,
    ):
        for member in wanted:
            archive.extract(member, scratch)
            progress.update(member.size)
        (scratch / folder).rename(target)


def _is_left_out(name: str) -> bool:
    return name.split("/", 1)[0] == LEFT_OUT


def check_members(members: Iterable[Member], limit: int) -> dict[str, Member]:
    """The members of an archive by their paths, with forward slashes; refuses all but plain files and folders.

    Args:
        members: as the archive lists them.
        limit: the most bytes that they may take together.

    Raises:
        _RefusedError: see unpack.
    """
    checked: dict[str, Member] = {}
    folded: dict[str, str] = {}
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
        known = folded.setdefault(unicodedata.normalize("NFC", name.casefold()), name)
        if known != name:
            raise _RefusedError(f"{known!r} and {name!r} are one name on some systems")
        if name in checked and member.kind == "file":
            raise _RefusedError(f"it has {name!r} twice")
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


def find_folder(names: Collection[str], holds: Sequence[str]) -> str:
    """The path of the shallowest folder that directly holds all of the given names; "" is the archive itself.

    Raises:
        _RefusedError: there is none, or there are two.
    """
    inside: dict[int, dict[str, set[str]]] = {depth: defaultdict(set) for depth in range(MAX_DEPTH + 1)}
    for parts in (name.split("/") for name in names if not _is_left_out(name)):
        for depth in range(min(len(parts), MAX_DEPTH + 1)):
            inside[depth]["/".join(parts[:depth])].add(parts[depth])
    for folders in inside.values():
        found = sorted(folder for folder, children in folders.items() if children.issuperset(holds))
        if len(found) > 1:
            raise _RefusedError(f"{', '.join(holds)} are in both {found[0]!r} and {found[1]!r}")
        if found:
            return found[0]
    raise _RefusedError(f"it has no folder with {', '.join(holds)} in it")
