from __future__ import annotations

import hashlib
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lare_dassl.commands.prepare import disk, download
from lare_dassl.commands.prepare.download import FRUITLESS_ATTEMPTS, part_of, size_of
from lare_dassl.datasets.base.sources import SOURCES, Source
from lare_dassl.errors import InputError

CONFIGS = Path(__file__).parents[3] / "configs"
CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FIELDS = {"file": "sub/a.zip", "gives": "sub/a", "holds": ("x",), "get": "a.zip", "checksum": f"sha256:{SHA256}"}
ANOTHER = r"expected 10,240: it is not sub/a.zip any more; get it elsewhere"


@pytest.fixture
def source(site):
    site.files["/a.zip"] = CONTENT
    return Source(**FIELDS, url=f"{site.address}/a.zip", size=len(CONTENT))


@pytest.fixture
def part(tmp_path):
    """The first 3,000 bytes, downloaded before by an earlier version."""
    part = part_of(tmp_path / "sub/a.zip")
    part.parent.mkdir()
    part.write_bytes(CONTENT[:3000])
    part.with_name("a.zip.part.version").write_text('"one"')
    return part


def check_downloaded(source, folder, site, asked):
    """The file, whole, and nothing beside it, after requests for these ranges."""
    site.asked.clear()
    assert download.download(source, folder) == folder / "sub/a.zip"
    assert (folder / "sub/a.zip").read_bytes() == CONTENT
    assert [path.name for path in (folder / "sub").iterdir()] == ["a.zip"]
    assert [wanted for _, wanted in site.asked] == asked


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, [""]),
        ({"break_after": [1000, 500]}, ["", "bytes=1000-", "bytes=1500-"]),
        ({"break_after": [1000], "ranges": False}, ["", "bytes=1000-"]),
        ({"break_after": [1000], "tells_length": False}, ["", "bytes=1000-"]),
        ({"statuses": [503, 429, 500]}, ["", "", "", ""]),
        ({"break_after": [100] * 10}, ["", *(f"bytes={100 * (count + 1)}-" for count in range(10))]),
    ],
    ids=["at once", "a stream that breaks", "no ranges", "no length", "a busy server", "many attempts"],
)
def test_the_file_is_downloaded_in_the_end(tmp_path, site, source, settings, asked):
    for name, value in settings.items():
        setattr(site, name, value)
    check_downloaded(source, tmp_path, site, asked)


@pytest.mark.parametrize(
    ("content", "asked"),
    [(CONTENT[:3000], ["bytes=3000-"]), (CONTENT, []), (CONTENT + b"x", [""])],
    ids=["a part", "the whole file", "too long"],
)
def test_an_earlier_part_is_used(site, source, part, content, asked):
    part.write_bytes(content)
    check_downloaded(source, part.parents[1], site, asked)


def test_a_killed_download_is_resumed(tmp_path, site, source, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 64)
    site.stall_after = [3200]
    process = multiprocessing.get_context("fork").Process(target=download.download, args=(source, tmp_path))
    process.start()
    while size_of(part_of(tmp_path / "sub/a.zip")) < 3200:
        assert process.is_alive()
        time.sleep(0.001)
    process.kill()
    process.join()
    site.go_on.set()
    check_downloaded(source, tmp_path, site, ["bytes=3200-"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"statuses": [503] * FRUITLESS_ATTEMPTS}, "503 .*; 3.0 kB are kept: run again"),
        ({"files": {}}, r"404 Not Found; has it moved\? get it yourself and put it at .*/sub/a.zip$"),
        ({"files": {"/a.zip": CONTENT + b"more"}}, "does not go on at byte 3,000 of 10,240: the file there has"),
        ({"files": {"/a.zip": CONTENT[:2000]}}, "does not go on at byte 3,000 of 10,240: the file there has"),
        ({"files": {"/a.zip": b"sign in"}, "ranges": False}, f"/a.zip gives 7 bytes, {ANOTHER}"),
        ({"ranges": False, "tells_length": False}, f"gives an unknown number of bytes, {ANOTHER}"),
        ({"ranges": False, "kind": "text/html; charset=utf-8"}, "gives a web page, not sub/a.zip: sign in where your"),
    ],
    ids=["busy", "gone", "longer", "shorter", "another file", "another of unknown length", "a web page"],
)
def test_a_server_without_the_rest_keeps_the_part(site, source, part, settings, said):
    for name, value in settings.items():
        setattr(site, name, value)
    with pytest.raises(InputError, match=said):
        download.download(source, part.parents[1])
    assert part.read_bytes() == CONTENT[:3000]
    assert len(site.asked) == (FRUITLESS_ATTEMPTS if "statuses" in settings else 1)
    site.files, site.ranges, site.tells_length, site.kind = {"/a.zip": CONTENT}, True, True, ""
    check_downloaded(source, part.parents[1], site, ["bytes=3000-"])


def test_an_answer_longer_than_the_file_is_not_kept(tmp_path, site, source):
    site.files["/a.zip"], site.tells_length = CONTENT + b"more", False
    with pytest.raises(InputError, match=r"of another length than announced; 0 bytes are kept"):
        download.download(source, tmp_path)


def test_no_server_is_one_line(tmp_path, source):
    with pytest.raises(InputError, match=r"cannot download sub/a.zip from http://127.0.0.1:9/.*: .*0 bytes are kept"):
        download.download(replace(source, url="http://127.0.0.1:9/a.zip"), tmp_path)


def test_other_content_of_the_same_length_is_refused_and_removed(tmp_path, site, source):
    site.files["/a.zip"] = CONTENT[::-1]
    with pytest.raises(InputError, match=f"its sha256 is [0-9a-f]{{64}}, expected {SHA256}; it is removed: run again"):
        download.download(source, tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_full_disk_is_noticed_before_anything_is_asked(tmp_path, site, source, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(InputError, match=r"the download of sub/a.zip needs 10.2 kB in .*, where 5.0 kB are free"):
        download.download(source, tmp_path)
    assert site.asked == []


@pytest.mark.parametrize("name", SOURCES)
def test_every_address_has_a_checksum_of_the_right_length_and_a_size(name):
    for source in SOURCES[name]:
        algorithm, _, digest = source.checksum.partition(":")
        assert bool(source.url) == bool(source.size) == bool(digest)
        assert len(digest) == {"": 0, "md5": 32, "sha256": 64}[algorithm]
        assert source.get
        assert source.unpacked_size >= source.size
    assert (CONFIGS / f"{name}.yaml").is_file()
