from __future__ import annotations

import errno
import gzip
import io
import re
import stat
import tarfile
import zipfile
from functools import partial
from types import SimpleNamespace

import pytest

from lare_dassl.commands.prepare import archives, disk
from lare_dassl.commands.prepare.archives import unpack
from lare_dassl.errors import InputError

GOOD = {"kfold/photo/dog/1.jpg": b"one", "kfold/photo/dog/2.jpg": b"two", "kfold/sketch/dog/1.jpg": b"three"}
HOLDS = ("photo", "sketch")
DAMAGED = r"'.*' \([\d,]+ bytes\) is half-downloaded, damaged or no archive \(.+\): get"


def write_zip(path, files, mode=0o644):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            info.external_attr = mode << 16 if mode else 0
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def write_tar(path, files, kind=tarfile.REGTYPE, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "kfold/photo" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


write_plain_tar = partial(write_tar, mode="w")
both = pytest.mark.parametrize("write", [write_zip, write_tar])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack_here(path, limit=10**6):
    unpack(path, path.parent / "PACS", HOLDS, limit, "get it anew: from the shop")


def check_refused(path, reason, limit=10**6):
    """One line, and nothing written: not in the folder of the archive, and not above it."""
    before = sorted(path.parent.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        unpack_here(path, limit)
    assert re.search(reason, str(caught.value)), caught.value
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.parent.parent.rglob("*")) == before


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("above", ["kfold/", "", "./", "x/y/z/"])
@pytest.mark.parametrize("write", [write_zip, write_tar, write_plain_tar])
def test_the_folder_is_found_inside_whatever_the_suffix(folder, write, above):
    (folder / "PACS").mkdir()
    files = {name.replace("kfold/", above): content for name, content in GOOD.items()}
    beside = {"readme.txt": b"", "__MACOSX/kfold/photo/._1": b"", "__MACOSX/kfold/sketch/._1": b""}
    unpack_here(write(folder / "a.zip", files | beside if above == "kfold/" else files))
    assert contents(folder / "PACS") == {name.removeprefix("kfold/"): content for name, content in GOOD.items()}
    assert sorted(path.name for path in folder.iterdir()) == ["PACS", "a.zip"]


def test_a_zip_written_as_a_stream_or_without_modes_is_unpacked(folder):
    stream = io.BytesIO()
    stream.seekable = lambda: False
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
    (folder / "a.zip").write_bytes(stream.getvalue())
    for number, path in enumerate((folder / "a.zip", write_zip(folder / "b.zip", GOOD, mode=0))):
        unpack(path, folder / f"PACS{number}", HOLDS, 100, "")
        assert len(contents(folder / f"PACS{number}")) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../escaped.txt", r"'\.\./escaped.txt' is a path outside of it"),
        ("kfold/../../escaped.txt", "is a path outside of it"),
        ("kfold/photo/..", "is a path outside of it"),
        ("/tmp/escaped.txt", "'/tmp/escaped.txt' is a path outside of it"),
        ("C:escaped.txt", "'C:escaped.txt' is a path outside of it"),
        ("kfold\\..\\escaped.txt", "is a path outside of it"),
        ("kfold/photo/dog/1.jpg:hidden", "'kfold/photo/dog/1.jpg:hidden' has a colon or a control character"),
        ("kfold/photo/a\nb", r"'kfold/photo/a\\nb' has a colon or a control character"),
        ("kfold/photo/a\x9bb", r"'kfold/photo/a\\x9bb' has a colon or a control character"),
        ("kfold/photo/dog/1.jpg", "it has 'kfold/photo/dog/1.jpg' twice"),
        ("./kfold//photo/dog/1.jpg", "it has 'kfold/photo/dog/1.jpg' twice"),
        ("kfold/photo/dog/1.JPG", "'kfold/photo/dog/1.jpg' and 'kfold/photo/dog/1.JPG' are one name on some"),
        ("kfold/photo/dog/1.jpg/x", "cannot unpack"),
        ("kfold/photo", "cannot unpack"),
        ("copy/photo/1.jpg", "photo, sketch are in both 'copy' and 'kfold'"),
    ],
)
@both
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_would_write_elsewhere_are_refused(folder, write, name, reason):
    second = [("copy/sketch/1.jpg", b"x")] if name.startswith("copy") else []
    check_refused(write(folder / "a.zip", [*GOOD.items(), *second, (name, b"x")]), reason)


def test_names_in_two_unicode_forms_or_with_nul_are_refused(folder):
    files = [*GOOD.items(), ("kfold/photo/\u00e9.jpg", b""), ("kfold/photo/e\u0301.jpg", b"")]
    check_refused(write_zip(folder / "a.zip", files), "are one name on some systems")
    path = write_zip(folder / "a.zip", GOOD | {"@odd": b""})
    path.write_bytes(path.read_bytes().replace(b"@odd", b"\0odd"))
    check_refused(path, r"'\\x00odd' has a colon or a control character")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
        (tarfile.GNUTYPE_SPARSE, "a device"),
        (stat.S_IFLNK, "a link"),
        (stat.S_IFCHR, "a device"),
    ],
)
def test_members_that_are_no_files_are_refused(folder, kind, said):
    files = {"kfold/photo/odd": b""}
    in_tar = isinstance(kind, bytes)
    path = write_tar(folder / "a", files, kind) if in_tar else write_zip(folder / "a", files, kind | 0o777)
    check_refused(path, f"'kfold/photo/odd' is {said};")


@both
def test_bombs_and_too_many_members_are_refused(folder, write, monkeypatch):
    path = write(folder / "a.zip", GOOD | {"kfold/bomb": bytes(10**6)})
    assert path.stat().st_size < 10_000
    check_refused(path, r"it unpacks to more than 1\.0 MB", limit=10**6)
    unpack_here(path, limit=10**6 + 11)
    (folder / "PACS").rename(folder / "first")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    check_refused(path, "it has more than 2 members")


def header(kind, size, headers=None):
    info = tarfile.TarInfo("kfold/photo/odd" if headers else "././@LongLink")
    info.type, info.size, info.pax_headers = kind, size, headers or {}
    return info.tobuf(tarfile.PAX_FORMAT if headers else tarfile.GNU_FORMAT)


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
TOO_LONG = r"the headers of one member take more than 100\.0 kB"
TAR_HEADERS = {
    "one that fills the memory": (header(tarfile.GNUTYPE_LONGNAME, 8 * 10**9), TOO_LONG),
    "many that fill it": ((header(tarfile.GNUTYPE_LONGNAME, 2_048) + b"x" * 2_048) * 60, TOO_LONG),
    "a sparse map": (header(tarfile.REGTYPE, 500_000, SPARSE) + b"250000\n" + b"0\n" * 250_000, TOO_LONG),
    "endless": ((header(tarfile.GNUTYPE_LONGNAME, 1) + b"x".ljust(512, b"\0")) * 2_000, f"{DAMAGED}|{TOO_LONG}"),
}
NONSENSE = [
    {"GNU.sparse.map": "a,b", "GNU.sparse.size": "5"},
    SPARSE | {"GNU.sparse.realsize": "10"},
    {"GNU.sparse.size": "x", "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "z"},
    {"hdrcharset": "\0"},
]


@pytest.mark.parametrize("case", TAR_HEADERS)
def test_tar_headers_that_would_fill_the_memory_are_refused(folder, monkeypatch, case):
    monkeypatch.setattr(archives, "MAX_HEADER", 100_000)
    content, reason = TAR_HEADERS[case]
    (folder / "a.tgz").write_bytes(gzip.compress(content))
    check_refused(folder / "a.tgz", reason)
    unpack_here(write_tar(folder / "a.tgz", {name: bytes(200_000) for name in GOOD}))
    assert [len(content) for content in contents(folder / "PACS").values()] == [200_000] * 3


@pytest.mark.parametrize("headers", NONSENSE)
def test_tar_headers_that_make_no_sense_are_refused(folder, headers):
    (folder / "a.tar").write_bytes(header(tarfile.REGTYPE, 512, headers) + b"q" * 512 + bytes(1024))
    check_refused(folder / "a.tar", f"{DAMAGED}|is a device|has no folder")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@both
def test_a_half_downloaded_or_damaged_archive_is_one_line(folder, write, share):
    path = write(folder / "a.zip", {name: bytes(range(256)) * 20 for name in GOOD})
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: int(share * len(data))])
    check_refused(path, DAMAGED)
    if share == 0.5:
        data[len(data) // 3] ^= 0xFF
        path.write_bytes(data)
        check_refused(path, DAMAGED)


@pytest.mark.parametrize("into_header", [0, 1, 100, 511])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_a_plain_tar_cut_between_members_is_half_downloaded(folder, members, into_header):
    files = {f"kfold/{folder_name}/{place}": bytes(512) for place, folder_name in enumerate([*HOLDS, "photo"])}
    path = write_plain_tar(folder / "a.tar", files)
    whole = path.read_bytes()
    path.write_bytes(whole[: members * 1024 + into_header])
    check_refused(path, DAMAGED)
    # One block of zeros is an end.
    path.write_bytes(whole[: 3 * 1024 + 512])
    unpack_here(path)
    assert len(contents(folder / "PACS")) == 3


LISTING = b"PK\x01\x02"


# In the listing of a zip, bytes 8 to 9 are flags (1: encrypted), 16 to 27 the checksum and sizes, the name is at 46.
@pytest.mark.parametrize(
    ("start", "end", "other", "reason"),
    [
        (8, 9, b"\1", "'kfold/photo/dog/1.jpg' is an encrypted file;"),
        (46, 47, b"j", DAMAGED),
        (16, 28, bytes(12), r"'kfold/photo/dog/1\.jpg' is listed with another size or checksum"),
    ],
    ids=["encrypted", "another name", "another size"],
)
def test_a_zip_whose_listing_lies_is_refused(folder, start, end, other, reason):
    path = write_zip(folder / "a", GOOD | {"kfold/photo/last": b""})
    content = bytearray(path.read_bytes())
    listing = content.index(LISTING)
    content[listing + start : listing + end] = other
    path.write_bytes(content)
    check_refused(path, reason)


@pytest.mark.parametrize(
    ("write", "old", "new"),
    [(write_zip, b"\5\0\0\0", b"\1\0\0\0"), (write_plain_tar, b"kfold/photo/last", b"\x94fold/photo/last")],
    ids=["smaller sizes in a zip", "a name in a tar"],
)
def test_headers_that_lie_are_refused(folder, write, old, new):
    path = write(folder / "a", GOOD | {"kfold/photo/last": b""})
    path.write_bytes(path.read_bytes().replace(old, new))
    check_refused(path, DAMAGED)


def test_an_archive_of_something_else_is_refused(folder):
    (folder / "a.zip").write_text("<html>Sign in to download</html>" * 100)
    check_refused(folder / "a.zip", DAMAGED)
    deep = {f"1/2/3/4/{name.removeprefix('kfold/')}": content for name, content in GOOD.items()}
    for files in {"photo/1.jpg": b""}, deep:
        check_refused(write_zip(folder / "a.zip", files), "it has no folder with photo, sketch in it")


def test_what_is_in_its_place_is_never_replaced(folder):
    (folder / "PACS").mkdir()
    (folder / "PACS/mine.jpg").write_bytes(b"mine")
    check_refused(write_zip(folder / "a.zip", GOOD), "cannot unpack .* Directory not empty")


def test_a_full_disk_is_noticed_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    path = write_zip(folder / "a.zip", GOOD)
    with pytest.raises(InputError, match=r"unpacking PACS needs 11 bytes in .*, where 10 bytes are free"):
        unpack_here(path)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), InputError, "cannot unpack '.*' to '.*': No space left"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_what_interrupts_it_leaves_nothing(folder, monkeypatch, error, raised, says):
    extract = zipfile.ZipFile.extract

    def failing(archive, info, path):
        if list(path.rglob("*.jpg")):
            raise error
        return extract(archive, info, path)

    monkeypatch.setattr(zipfile.ZipFile, "extract", failing)
    path = write_zip(folder / "a.zip", GOOD)
    with pytest.raises(raised, match=says):
        unpack_here(path)
    assert list(folder.iterdir()) == [path]
