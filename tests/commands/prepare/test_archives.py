from __future__ import annotations

import gzip
import io
import multiprocessing
import re
import stat
import tarfile
import time
import zipfile
from types import SimpleNamespace

import pytest

from lare_dassl.commands.prepare import archives, disk
from lare_dassl.commands.prepare.archives import unpack
from lare_dassl.errors import InputError

GOOD = {"kfold/photo/dog/1.jpg": b"one", "kfold/photo/dog/2.jpg": b"two", "kfold/sketch/dog/1.jpg": b"three"}
HOLDS = ("photo", "sketch")


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
    assert str(caught.value).startswith(f"'{path}'")
    assert str(caught.value).endswith("get it anew: from the shop")
    assert "\n" not in str(caught.value)
    assert sorted(path.parent.parent.rglob("*")) == before


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tgz", "a.tar"])
def test_the_folder_is_found_inside(folder, name):
    if name == "a.zip":
        write_zip(folder / name, GOOD)
    else:
        write_tar(folder / name, GOOD, mode="w" if name == "a.tar" else "w:gz")
    unpack_here(folder / name)
    expected = {"photo/dog/1.jpg": b"one", "photo/dog/2.jpg": b"two", "sketch/dog/1.jpg": b"three"}
    assert contents(folder / "PACS") == expected
    assert sorted(path.name for path in folder.iterdir()) == ["PACS", name]


def test_the_suffix_may_be_wrong(folder):
    write_zip(folder / "a.tar.gz", GOOD)
    unpack_here(folder / "a.tar.gz")
    assert len(contents(folder / "PACS")) == 3


@pytest.mark.parametrize("above", ["", "./", "x/", "x/y/z/"])
def test_it_is_found_three_levels_deep(folder, above):
    files = {f"{above}{name.removeprefix('kfold/')}": content for name, content in GOOD.items()}
    write_tar(folder / "a.tgz", files)
    unpack_here(folder / "a.tgz")
    assert contents(folder / "PACS")["sketch/dog/1.jpg"] == b"three"


def test_what_is_beside_it_is_left_out(folder):
    beside = {"readme.txt": b"", "__MACOSX/kfold/photo/._1": b"", "__MACOSX/kfold/sketch/._1": b"", "kfold/": b""}
    write_zip(folder / "a.zip", GOOD | beside)
    unpack_here(folder / "a.zip")
    assert len(contents(folder / "PACS")) == 3


def test_an_empty_folder_may_be_in_its_place(folder):
    (folder / "PACS").mkdir()
    unpack_here(write_zip(folder / "a.zip", GOOD))
    assert len(contents(folder / "PACS")) == 3


@pytest.mark.parametrize("write", [write_zip, write_tar])
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
        ("kfold/Photo/dog/3.jpg", "'kfold/photo' and 'kfold/Photo' are one name on some systems"),
        ("kfold/photo/dog/1.jpg/x", "it has 'kfold/photo/dog/1.jpg' twice"),
        ("kfold/photo", "it has 'kfold/photo' twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_would_write_elsewhere_are_refused(folder, write, name, reason):
    check_refused(write(folder / "a.zip", [*GOOD.items(), (name, b"x")]), reason)


def test_a_name_in_another_unicode_form_is_refused(folder):
    files = [*GOOD.items(), ("kfold/photo/\u00e9.jpg", b""), ("kfold/photo/e\u0301.jpg", b"")]
    check_refused(write_zip(folder / "a.zip", files), "are one name on some systems")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
        (tarfile.GNUTYPE_SPARSE, "a device"),
    ],
)
def test_tar_members_that_are_no_files_are_refused(folder, kind, said):
    check_refused(write_tar(folder / "a.tar", {"kfold/photo/odd": b""}, kind), f"'kfold/photo/odd' is {said};")


@pytest.mark.parametrize(("mode", "said"), [(stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device")])
def test_zip_members_that_are_no_files_are_refused(folder, mode, said):
    check_refused(write_zip(folder / "a.zip", {"kfold/odd": b"/etc"}, mode | 0o777), f"'kfold/odd' is {said};")


def test_zip_members_without_a_mode_are_files(folder):
    unpack_here(write_zip(folder / "a.zip", GOOD, mode=0))
    assert len(contents(folder / "PACS")) == 3


def test_an_encrypted_zip_is_refused(folder):
    path = write_zip(folder / "a.zip", GOOD)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    path.write_bytes(data)
    check_refused(path, "'kfold/photo/dog/1.jpg' is an encrypted file;")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_more_bytes_than_allowed_are_refused(folder, write):
    path = write(folder / "a.zip", GOOD | {"kfold/bomb": bytes(10**6)})
    assert path.stat().st_size < 10_000
    check_refused(path, r"it unpacks to more than 1\.0 MB", limit=10**6)
    unpack_here(path, limit=10**6 + 11)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_too_many_members_are_refused(folder, write, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    check_refused(write(folder / "a.zip", GOOD), "it has more than 2 members")


def test_a_tar_header_that_would_fill_the_memory_is_refused(folder):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 10**9
    with gzip.open(folder / "a.tgz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
    check_refused(folder / "a.tgz", r"the headers of one member take 8\.0 GB")


@pytest.mark.parametrize("kind", ["long names", "sparse map"])
def test_many_tar_headers_that_would_fill_the_memory_are_refused(folder, monkeypatch, kind):
    monkeypatch.setattr(archives, "MAX_HEADER", 100_000)
    names = tarfile.TarInfo("././@LongLink")
    names.type, names.size = tarfile.GNUTYPE_LONGNAME, 2_048
    sparse = tarfile.TarInfo("kfold/photo/odd")
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    sparse.size = 500_000
    with gzip.open(folder / "a.tgz", "wb") as file:
        if kind == "long names":
            file.write((names.tobuf(tarfile.GNU_FORMAT) + b"x" * 2_048) * 60)
        else:
            file.write(sparse.tobuf(tarfile.PAX_FORMAT) + b"250000\n" + b"0\n" * 250_000)
    check_refused(folder / "a.tgz", r"the headers of one member take 10\d\.\d kB")


def test_members_larger_than_their_headers_may_be_are_unpacked(folder, monkeypatch):
    monkeypatch.setattr(archives, "MAX_HEADER", 20_000)
    unpack_here(write_tar(folder / "a.tgz", {name: bytes(50_000) for name in GOOD}))
    assert [len(content) for content in contents(folder / "PACS").values()] == [50_000] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "5"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10"},
        {"GNU.sparse.size": "x", "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "z"},
        {"hdrcharset": "\0"},
    ],
)
def test_tar_headers_that_make_no_sense_are_damage_or_refused(folder, headers):
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("kfold/photo/odd")
        info.size, info.pax_headers = 512, headers
        archive.addfile(info, io.BytesIO(b"q" * 512))
    check_refused(folder / "a.tar", "damaged or no archive|is a device|has no folder")


def test_endless_tar_headers_before_one_member_are_damage(folder):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    (folder / "a.tar").write_bytes((info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 2_000)
    check_refused(folder / "a.tar", "half-downloaded, damaged or no archive")


def test_a_zip_name_that_begins_with_nul_is_refused(folder):
    path = write_zip(folder / "a.zip", GOOD | {"@odd": b""})
    path.write_bytes(path.read_bytes().replace(b"@odd", b"\0odd"))
    check_refused(path, r"'\\x00odd' has a colon or a control character")


def test_a_tar_that_goes_on_behind_its_end_is_refused(folder, monkeypatch):
    monkeypatch.setattr(archives, "MAX_PADDING", 20_000)
    path = write_tar(folder / "a.tar", GOOD, mode="w")
    with gzip.open(folder / "a.tgz", "wb") as file:
        file.write(path.read_bytes() + bytes(30_000))
    check_refused(folder / "a.tgz", "it goes on behind its end")


def test_a_zip_that_declares_less_than_it_holds_leaves_nothing(folder):
    path = write_zip(folder / "a.zip", GOOD | {"kfold/photo/long": bytes(50_000)})
    lie = (50_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(*lie))
    check_refused(path, "half-downloaded, damaged or no archive")


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_half_downloaded_archive_is_one_line_with_its_size(folder, write, share):
    files = {name: bytes(range(256)) * 20 for name in GOOD}
    path = write(folder / "a.zip", files)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    check_refused(path, rf"\({int(share * len(data)):,} bytes\) is half-downloaded, damaged or no archive \(.+\): get")


@pytest.mark.parametrize("into_header", [0, 1, 100, 511])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_a_plain_tar_that_ends_where_a_header_would_stand_is_half_downloaded(folder, members, into_header):
    files = {f"kfold/{folder_name}/{place}": bytes(512) for place, folder_name in enumerate([*HOLDS, "photo"])}
    path = write_tar(folder / "a.tar", files, mode="w")
    whole = path.read_bytes()
    path.write_bytes(whole[: members * 1024 + into_header])
    check_refused(path, r"bytes\) is half-downloaded, damaged or no archive \(.+\): get")
    # One block of zeros is an end.
    path.write_bytes(whole[: 3 * 1024 + 512])
    unpack_here(path)
    assert len(contents(folder / "PACS")) == 3


def test_a_plain_tar_with_a_damaged_header_is_not_taken_for_a_shorter_one(folder):
    path = write_tar(folder / "a.tar", GOOD | {"kfold/photo/last": b""}, mode="w")
    data = bytearray(path.read_bytes())
    data[3 * 1024] ^= 0xFF
    path.write_bytes(data)
    check_refused(path, "half-downloaded, damaged or no archive")


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_damaged_byte_leaves_nothing(folder, write):
    path = write(folder / "a.zip", {name: bytes(range(256)) * 20 for name in GOOD})
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    check_refused(path, "half-downloaded, damaged or no archive")


def test_a_saved_web_page_is_one_line(folder):
    (folder / "a.zip").write_text("<html>Sign in to download</html>" * 100)
    check_refused(folder / "a.zip", r"\(3,200 bytes\) is half-downloaded, damaged or no archive")


def test_an_archive_of_something_else_is_refused(folder):
    check_refused(write_zip(folder / "a.zip", {"photo/1.jpg": b""}), "it has no folder with photo, sketch in it")
    deep = {f"1/2/3/4/{name.removeprefix('kfold/')}": content for name, content in GOOD.items()}
    check_refused(write_zip(folder / "a.zip", deep), "it has no folder with photo, sketch in it")


def test_two_such_folders_are_refused(folder):
    twice = GOOD | {name.replace("kfold", "copy"): content for name, content in GOOD.items()}
    check_refused(write_zip(folder / "a.zip", twice), "photo, sketch are in both 'copy' and 'kfold'")


def test_a_full_disk_is_told_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    path = write_zip(folder / "a.zip", GOOD)
    with pytest.raises(InputError, match=r"unpacking PACS needs 11 bytes in .*, where 10 bytes are free"):
        unpack_here(path)
    assert list(folder.iterdir()) == [path]


def test_a_disk_that_fills_meanwhile_leaves_nothing(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_copy", full)
    path = write_zip(folder / "a.zip", GOOD)
    with pytest.raises(InputError, match=r"cannot unpack '.*/a.zip' to '.*/PACS': No space left on device"):
        unpack_here(path)
    assert list(folder.iterdir()) == [path]


def test_what_is_in_its_place_is_never_replaced(folder):
    (folder / "PACS").mkdir()
    (folder / "PACS/mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"cannot unpack .* Directory not empty"):
        unpack_here(write_zip(folder / "a.zip", GOOD))
    assert contents(folder / "PACS") == {"mine.jpg": b"mine"}


def _unpack_and_hang(path):
    real, copied = archives._copy, []

    def copy(*arguments):
        if copied:
            time.sleep(100)
        copied.append(real(*arguments))

    archives._copy = copy
    unpack_here(path)


def test_a_killed_unpacking_leaves_nothing_that_counts(folder):
    path = write_zip(folder / "a.zip", GOOD)
    process = multiprocessing.get_context("fork").Process(target=_unpack_and_hang, args=(path,))
    process.start()
    left = folder / ".PACS.unpacking"
    while not (left / "photo/dog/2.jpg").exists():
        assert process.is_alive()
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not (folder / "PACS").exists()
    (left / "photo/dog/leftover.jpg").write_bytes(b"")
    unpack_here(path)
    assert len(contents(folder / "PACS")) == 3
    assert not left.exists()


def test_an_interruption_leaves_nothing(folder, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_copy", interrupt)
    path = write_zip(folder / "a.zip", GOOD)
    with pytest.raises(KeyboardInterrupt):
        unpack_here(path)
    assert list(folder.iterdir()) == [path]


def zip_listing(path):
    """Where the listing of a zip begins."""
    with zipfile.ZipFile(path) as archive:
        return archive.start_dir


def test_a_zip_whose_listing_has_another_name_leaves_out_no_file(folder):
    path = write_zip(folder / "a.zip", GOOD)
    content = bytearray(path.read_bytes())
    content[content.index(b"kfold", zip_listing(path))] ^= 1
    path.write_bytes(content)
    check_refused(path, r"half-downloaded, damaged or no archive")


def test_a_zip_whose_listing_has_another_size_gives_no_empty_file(folder):
    path = write_zip(folder / "a.zip", GOOD)
    content = bytearray(path.read_bytes())
    entry = zip_listing(path)
    content[entry + 16 : entry + 28] = bytes(12)
    path.write_bytes(content)
    check_refused(path, r"'kfold/photo/dog/1\.jpg' is listed with another size or checksum than its own")


def test_a_zip_that_was_written_as_a_stream_is_unpacked(folder):
    class Stream(io.RawIOBase):
        def __init__(self):
            self.written = b""

        def writable(self):
            return True

        def write(self, piece):
            self.written += bytes(piece)
            return len(piece)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
    path = folder / "a.zip"
    path.write_bytes(stream.written)
    unpack_here(path)
    assert contents(folder / "PACS") == {name.removeprefix("kfold/"): content for name, content in GOOD.items()}
