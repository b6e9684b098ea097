from __future__ import annotations

import hashlib
import multiprocessing
import time
from types import SimpleNamespace

import pytest

from lare_dassl.commands.prepare import disk, download
from lare_dassl.commands.prepare.download import FRUITLESS_ATTEMPTS, Part
from lare_dassl.datasets.base.sources import SOURCES, Source
from lare_dassl.errors import InputError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def source(site):
    site.files["/a.zip"] = CONTENT
    return Source(
        file="sub/a.zip",
        gives="sub/a",
        holds=("x",),
        get="a.zip",
        url=f"{site.address}/a.zip",
        checksum=f"sha256:{SHA256}",
        size=len(CONTENT),
    )


@pytest.fixture
def part(tmp_path):
    """The first 3,000 bytes, downloaded before."""
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT[:3000])
    part.version_path.write_text('"one"')
    return part


def changed(source, **changes):
    return Source(**{**vars(source), **changes})


def ranges(site):
    return [asked for _, asked in site.asked]


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_is_downloaded_at_once(tmp_path, site, source):
    assert download.download(source, tmp_path) == tmp_path / "sub/a.zip"
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["a.zip"]
    assert ranges(site) == [""]


def test_a_stream_that_breaks_is_gone_on_with(tmp_path, site, source):
    site.break_after = [1000, 500]
    download.download(source, tmp_path)
    assert ranges(site) == ["", "bytes=1000-", "bytes=1500-"]
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT


def test_progress_may_take_more_attempts_than_failures_may(tmp_path, site, source):
    site.break_after = [100] * (2 * FRUITLESS_ATTEMPTS)
    download.download(source, tmp_path)
    assert len(site.asked) == 2 * FRUITLESS_ATTEMPTS + 1


def test_an_earlier_part_is_gone_on_with(tmp_path, site, source):
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT[:3000])
    part.version_path.write_text('"one"')
    download.download(source, tmp_path)
    assert ranges(site) == ["bytes=3000-"]
    assert files_in(tmp_path) == ["a.zip"]


def test_a_download_that_was_killed_is_gone_on_with(tmp_path, site, source, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 64)
    site.stall_after = [3200]
    process = multiprocessing.get_context("fork").Process(target=download.download, args=(source, tmp_path))
    process.start()
    part = Part(tmp_path / "sub/a.zip")
    while part.size < 3200:
        assert process.is_alive()
        time.sleep(0.001)
    process.kill()
    process.join()
    site.go_on.set()
    assert files_in(tmp_path) == ["a.zip.part", "a.zip.part.version"]
    download.download(source, tmp_path)
    assert ranges(site) == ["", "bytes=3200-"]
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for(tmp_path, site, source):
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT)
    download.download(source, tmp_path)
    assert site.asked == []


def test_a_part_longer_than_the_file_is_dropped(tmp_path, site, source):
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT + b"x")
    download.download(source, tmp_path)
    assert ranges(site) == [""]


def test_a_server_without_ranges_starts_over(tmp_path, site, source):
    site.ranges = False
    site.break_after = [1000]
    download.download(source, tmp_path)
    assert ranges(site) == ["", "bytes=1000-"]
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_in_between_is_started_over(tmp_path, site, source, heeds):
    site.keeps_if_range = heeds
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(b"\0" * 3000)
    part.version_path.write_text('"older"')
    download.download(source, tmp_path)
    assert ranges(site) == (["bytes=3000-"] if heeds else ["bytes=3000-", ""])
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT


def test_a_file_of_unknown_size_is_downloaded_whole(tmp_path, site, source):
    site.break_after = [1000]
    download.download(changed(source, size=0, checksum=""), tmp_path)
    assert ranges(site) == ["", "bytes=1000-"]
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT


def test_a_part_beyond_the_end_of_a_file_of_unknown_size_is_started_over(tmp_path, site, source):
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT * 2)
    download.download(changed(source, size=0), tmp_path)
    assert ranges(site) == [f"bytes={2 * len(CONTENT)}-", ""]


def test_a_server_that_is_busy_is_asked_again(tmp_path, site, source):
    site.statuses = [503, 429, 500]
    download.download(source, tmp_path)
    assert len(site.asked) == 4


def test_a_server_that_stays_busy_is_one_line_and_the_part_is_kept(tmp_path, site, source):
    site.statuses = [503] * FRUITLESS_ATTEMPTS
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT[:1000])
    with pytest.raises(InputError, match=r"cannot download sub/a.zip from .*: 503 .*; 1.0 kB are kept: run again"):
        download.download(source, tmp_path)
    assert len(site.asked) == FRUITLESS_ATTEMPTS
    assert part.size == 1000


def test_a_file_that_is_gone_is_not_asked_for_again(tmp_path, site, source):
    site.files.clear()
    with pytest.raises(InputError, match=r"404 Not Found; has it moved\? get it yourself and put it at .*/sub/a.zip"):
        download.download(source, tmp_path)
    assert len(site.asked) == 1


def test_no_server_is_one_line(tmp_path, source):
    nowhere = changed(source, url="http://127.0.0.1:9/a.zip")
    with pytest.raises(InputError, match=r"cannot download sub/a.zip from http://127.0.0.1:9/.*: .*0 bytes are kept"):
        download.download(nowhere, tmp_path)


def test_other_content_of_the_same_length_is_refused_and_removed(tmp_path, site, source):
    site.files["/a.zip"] = CONTENT[::-1]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/other.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match=f"its sha256 is [0-9a-f]{{64}}, expected {SHA256}; it is removed: run again"):
        download.download(source, tmp_path)
    assert files_in(tmp_path) == ["other.zip"]


def test_a_file_of_another_length_is_refused_before_it_is_read(tmp_path, site, source):
    site.files["/a.zip"] = b"please sign in"
    part = Part(tmp_path / "sub/a.zip")
    part.path.parent.mkdir()
    part.path.write_bytes(CONTENT[:3000])
    part.version_path.write_text('"older"')
    with pytest.raises(InputError, match=r"/a.zip gives 14 bytes, expected 10,240: it is not sub/a.zip any more"):
        download.download(source, tmp_path)
    assert part.size == 3000


def test_a_web_page_is_refused_and_what_is_there_is_kept(tmp_path, site, source, part):
    site.files["/a.zip"], site.ranges = b"<html>please sign in</html>", False
    site.kind, site.tells_length = "text/html; charset=utf-8", False
    with pytest.raises(InputError, match=r"/a.zip gives a web page, not sub/a.zip: sign in where your network asks"):
        download.download(source, tmp_path)
    assert part.path.read_bytes() == CONTENT[:3000]
    assert len(site.asked) == 1
    site.kind, site.ranges, site.files["/a.zip"] = "", True, CONTENT
    download.download(source, tmp_path)
    assert ranges(site) == ["bytes=3000-", "bytes=3000-"]


@pytest.mark.parametrize("version", ["", '"of the gateway"'])
@pytest.mark.parametrize("length", [5, 20_000])
def test_an_answer_of_unknown_length_does_not_cost_what_is_there(site, source, part, version, length):
    root = part.target.parents[1]
    site.files["/a.zip"], site.version, site.ranges, site.tells_length = bytes(length), version, False, False
    with pytest.raises(InputError, match=r"of another length than announced; 3.0 kB are kept: run again later"):
        download.download(source, root)
    assert part.path.read_bytes() == CONTENT[:3000]
    site.files["/a.zip"], site.version, site.ranges = CONTENT, '"one"', True
    site.asked.clear()
    assert download.download(source, root).read_bytes() == CONTENT
    assert files_in(root) == ["a.zip"]


def test_a_part_that_the_server_overruns_is_kept(tmp_path, site, source, part):
    site.files["/a.zip"] = CONTENT + b"more"
    with pytest.raises(InputError, match=r"of another length than announced; 3.0 kB are kept"):
        download.download(source, tmp_path)
    assert part.path.read_bytes() == CONTENT[:3000]


def test_a_part_beyond_the_end_of_what_the_server_has_is_kept(tmp_path, site, source, part):
    site.files["/a.zip"] = CONTENT[:2000]
    with pytest.raises(InputError, match=r"/a.zip gives 2,000 bytes, expected 10,240"):
        download.download(source, tmp_path)
    assert part.path.read_bytes() == CONTENT[:3000]
    assert ranges(site) == ["bytes=3000-", ""]


def test_a_download_that_started_over_is_gone_on_with(tmp_path, site, source, part):
    part.version_path.write_text('"older"')
    site.break_after = [1000, 1500]
    download.download(source, tmp_path)
    assert ranges(site) == ["bytes=3000-", "bytes=1000-", "bytes=2500-"]
    assert (tmp_path / "sub/a.zip").read_bytes() == CONTENT
    assert files_in(tmp_path) == ["a.zip"]


def test_a_download_that_started_over_takes_the_place_of_the_part_once_it_is_longer(tmp_path, site, source, part):
    part.version_path.write_text('"older"')
    site.break_after = [3500]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download.time, "sleep", interrupt)
        download.download(source, tmp_path)
    assert (part.size, part.version) == (3500, '"one"')
    assert files_in(tmp_path) == ["a.zip.part", "a.zip.part.version"]


def test_one_that_was_killed_when_it_was_longer_takes_its_place_the_next_time(tmp_path, site, source, part):
    part.new.path.write_bytes(CONTENT[:4000])
    part.new.version_path.write_text('"one"')
    download.download(source, tmp_path)
    assert ranges(site) == ["bytes=4000-"]
    assert files_in(tmp_path) == ["a.zip"]


def interrupt(_):
    raise KeyboardInterrupt


def test_a_full_disk_is_told_before_anything_is_asked(tmp_path, site, source, monkeypatch):
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
