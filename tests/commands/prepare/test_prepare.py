from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
from pathlib import Path
from unittest import mock

import pytest
import yaml

from lare_dassl.commands.prepare import download
from lare_dassl.commands.prepare.disk import show_size
from lare_dassl.commands.prepare.prepare import prepare
from lare_dassl.commands.prepare.verify import sample_size
from lare_dassl.config.request import PrepareRequest, request_of
from lare_dassl.datasets import demo_world
from lare_dassl.datasets.base.sources import SOURCES, Source
from lare_dassl.errors import InputError, exit_code
from lare_dassl.io import locks
from lare_dassl.io.locks import only_one
from lare_dassl.system import network
from tests.helpers import make_domain_tree
from tools.prepare_data import read_flags

ROOT = Path(__file__).parents[3]
DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
DRIVE = SOURCES["pacs"][0].get


def zipped(tree: Path, above: str = "") -> bytes:
    """A zip of a folder, below a path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(tree.rglob("*.png")):
            archive.write(path, above + path.relative_to(tree).as_posix())
    return buffer.getvalue()


def source_of(site, name: str, content: bytes, **fields) -> Source:
    """A source of a file that the server gives."""
    site.files[f"/{name}"] = content
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    return Source(file=name, get=name, url=f"{site.address}/{name}", checksum=checksum, size=len(content), **fields)


@pytest.fixture
def pacs(tmp_path_factory) -> Path:
    """A PACS of 4 images of each of two classes in each domain: 32 images."""
    return make_domain_tree(tmp_path_factory.mktemp("pacs"), DOMAINS, ["dog", "horse"], per_class=4)


@pytest.fixture(autouse=True)
def configs(tmp_path, monkeypatch) -> Path:
    """The project's own settings of PACS, with the counts of the small one."""
    settings = yaml.safe_load((ROOT / "configs" / "pacs.yaml").read_text())
    settings["DATASET"]["EXPECTED_IMAGES"] = dict.fromkeys(DOMAINS, 8)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pacs.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "configs"


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def served(site, pacs, monkeypatch):
    """PACS may be downloaded, in a folder of another name."""
    source = source_of(site, "PACS.zip", zipped(pacs, "kfold/"), gives="PACS", holds=DOMAINS)
    monkeypatch.setitem(SOURCES, "pacs", (source,))
    return site


@pytest.fixture
def by_domain(site, pacs, root, monkeypatch):
    """Each domain is a file of its own; photo and cartoon are in place."""
    parts = {name: zipped(pacs / name, f"{name}/") for name in DOMAINS}
    fields = {name: {"gives": f"PACS/{name}", "holds": ("dog", "horse"), "domain": name} for name in DOMAINS}
    found = tuple(source_of(site, f"{name}.zip", parts[name], **fields[name]) for name in DOMAINS)
    monkeypatch.setitem(SOURCES, "pacs", found)
    make_domain_tree(root / "PACS", ["photo", "cartoon"], ["dog", "horse"], per_class=4)
    return site


def run(root, *words, dataset="pacs") -> int:
    arguments = request_of(PrepareRequest, read_flags([dataset, "--root", str(root), *words]))
    return exit_code(lambda: prepare(arguments, root.parent / "configs"))


def error_line(capsys) -> str:
    """The one line on standard error, beside the progress bars."""
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def files_of(root):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*") if path.is_file()}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(text):
    """The rows of the tables that were printed, without their bars."""
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.splitlines()]


def test_from_the_address_to_the_verified_dataset(root, served, capsys):
    assert run(root) == 0
    shown = capsys.readouterr().out
    assert ["PACS", f"missing; download of {show_size(len(served.files['/PACS.zip']))}"] in rows(shown)
    assert ["images", "photo", "art_painting", "cartoon", "sketch", "all"] in rows(shown)
    assert ["train", "6", "0", "0", "0", "6"] in rows(shown)
    assert ["val", "0", "0", "0", "0", "0"] in rows(shown)
    assert ["test", "2", "8", "8", "8", "26"] in rows(shown)
    assert "32 images decoded" in shown
    assert shown.endswith("pacs is complete\n")
    assert names_in(root) == [".pacs.lock", "PACS", "PACS.zip"]


def test_the_second_time_does_nothing_but_verify(root, served, capsys):
    # Archives stay where something is wrong.
    assert run(root, "--delete-archives", "DATASET.EXPECTED_IMAGES.photo", "9") == 2
    assert (root / "PACS.zip").exists()
    assert run(root, "--delete-archives") == 0
    assert not (root / "PACS.zip").exists()
    before = files_of(root)
    capsys.readouterr()
    assert run(root) == 0
    assert files_of(root) == before and len(served.asked) == 1
    shown = capsys.readouterr().out
    assert ["PACS", "there"] in rows(shown)
    assert "32 images decoded" in shown


def test_what_needs_a_person_is_one_line(root, capsys):
    assert run(root) == 2
    assert error_line(capsys) == f"error: PACS is missing: get {DRIVE}, and put it at {root}/PACS.zip"
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["PACS.zip", "PACS.tar.gz", "PACS.tgz"])
def test_an_archive_that_a_person_put_there_is_used(root, pacs, name, monkeypatch):
    monkeypatch.setattr(network, "reachable", None)
    (root / name).write_bytes(zipped(pacs, "x/pacs_data/"))
    assert run(root) == 0
    assert (root / "PACS/photo/dog/0.png").read_bytes() == (pacs / "photo/dog/0.png").read_bytes()


def test_a_half_downloaded_archive_that_a_person_put_there(root, pacs, capsys):
    (root / "PACS.zip").write_bytes(zipped(pacs)[:1000])
    assert run(root) == 2
    line = error_line(capsys)
    assert f"'{root}/PACS.zip' (1,000 bytes) is half-downloaded, damaged or no archive" in line
    assert line.endswith(f"get it anew: {DRIVE}")
    assert names_in(root) == [".pacs.lock", "PACS.zip"]


def test_a_half_of_a_known_size_is_named_and_may_be_gone_on_with(root, served, capsys):
    content = served.files["/PACS.zip"]
    (root / "PACS.zip").write_bytes(content[:1000])
    assert run(root) == 2
    line = error_line(capsys)
    assert f"it has 1,000 bytes, expected {len(content):,}; rename it to PACS.zip.part and run again" in line
    assert served.asked == []
    (root / "PACS.zip").rename(root / "PACS.zip.part")
    assert run(root) == 0
    assert served.asked == [("/PACS.zip", "bytes=1000-")]
    assert ["PACS", f"missing; 1.0 kB of {show_size(len(content))} downloaded"] in rows(capsys.readouterr().out)


def test_an_archive_with_another_checksum_is_not_unpacked_and_stays(root, served, capsys):
    content = served.files["/PACS.zip"][::-1]
    (root / "PACS.zip").write_bytes(content)
    assert run(root) == 2
    assert re.search(r"its md5 is .*; remove it and run again$", error_line(capsys))
    assert (root / "PACS.zip").read_bytes() == content
    assert not (root / "PACS").exists()


def test_offline_says_so_and_verifies_what_is_there(tmp_path, root, by_domain, capsys, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda url: False)
    # Brackets in a path are shown as they are.
    root = root.rename(tmp_path / "[bold]data")
    assert run(root) == 2
    output = capsys.readouterr()
    shown = rows(output.out)
    host = by_domain.address.removeprefix("http://")
    assert [f"offline: {host} cannot be reached; nothing is downloaded from there"] in shown
    assert ["PACS/photo", "there"] in shown
    assert ["test", "2", "8", "10"] in shown
    assert "16 images decoded" in output.out
    assert [f"PACS/sketch is missing: run again online, or get sketch.zip, and put it at {root}/sketch.zip"] in shown
    assert "error: pacs is not complete: 2 things are missing or wrong, each told above\n" in output.err
    assert by_domain.asked == []


def test_nothing_is_downloaded_where_that_is_asked(root, served, capsys, monkeypatch):
    monkeypatch.setattr(network, "reachable", None)
    assert run(root, "--no-download") == 2
    assert error_line(capsys).startswith("error: PACS is missing: run again online, or get PACS.zip")
    assert served.asked == []
    assert list(root.iterdir()) == []


def test_one_that_cannot_be_had_does_not_keep_the_others(root, by_domain, capsys):
    del by_domain.files["/art_painting.zip"]
    assert run(root) == 2
    assert "404 Not Found" in error_line(capsys)
    assert names_in(root / "PACS") == ["cartoon", "photo", "sketch"]


def test_files_of_domains_that_are_not_chosen_are_not_needed(root, by_domain, capsys):
    assert run(root, "DATASET.TARGET_DOMAINS", "['cartoon']") == 0
    assert run(root, "DATASET.TARGET_DOMAINS", "['sketch']") == 0
    assert [path for path, _ in by_domain.asked] == ["/sketch.zip"]
    assert run(root, "DATASET.SOURCE_DOMAINS", "[]", "DATASET.TARGET_DOMAINS", "[]") == 2
    assert [path for path, _ in by_domain.asked] == ["/sketch.zip", "/art_painting.zip"]


def test_a_plain_file_is_downloaded_and_checked(root, by_domain, monkeypatch, capsys):
    text = source_of(by_domain, "list.txt", b"photo/dog/0.png 0\n", gives="list.txt", holds=())
    monkeypatch.setitem(SOURCES, "pacs", (*SOURCES["pacs"], text))
    (root / "list.txt").write_bytes(b"something else")
    assert run(root) == 2
    assert f"'{root}/list.txt' is damaged: it has 14 bytes, expected 18; remove it and run again" in error_line(capsys)
    (root / "list.txt").unlink()
    (root / "PACS/photo/dog/0.png").unlink()
    assert run(root) == 2
    assert (root / "list.txt").read_bytes() == b"photo/dog/0.png 0\n"
    # Beside a complete dataset, a wrong one is a problem still.
    make_domain_tree(root / "PACS", ["photo"], ["dog"], per_class=4)
    (root / "list.txt").write_bytes(b"photo/dog/0.png 9\n")
    capsys.readouterr()
    assert run(root) == 2
    output = capsys.readouterr()
    assert "32 images decoded" in output.out and "complete" not in output.out
    assert f"error: '{root}/list.txt' is damaged: its md5 is " in output.err
    assert output.err.endswith("; remove it and run again, or get list.txt\n")


def test_a_folder_that_lacks_something_is_left_as_it_is(root, served, capsys):
    make_domain_tree(root / "PACS", ["photo"], ["dog", "horse"], per_class=4)
    assert run(root) == 2
    lacking = f"'{root}/PACS' lacks art_painting, cartoon, sketch: complete it, or move it away and run again"
    assert lacking in error_line(capsys)
    assert served.asked == []


@pytest.mark.parametrize(("owner", "call", "named"), [(Path, "iterdir", ""), (download.hashlib, "file_digest", ".zip")])
def test_what_cannot_be_read_is_one_line(served, root, capsys, *, owner, call, named):
    refuse = mock.Mock(side_effect=PermissionError(13, "Permission denied"))
    (root / "PACS").mkdir()
    (root / "PACS.zip").write_bytes(served.files["/PACS.zip"])
    with mock.patch.object(owner, call, refuse):
        assert run(root) == 2
    what = f"'{root}/PACS{named}'" if named else f"folder '{root}/PACS'"
    assert error_line(capsys) == f"error: cannot read {what}: Permission denied; check its permissions"


def test_a_copy_with_fewer_images_is_one_line(root, pacs, capsys):
    pacs.rename(root / "PACS")
    (root / "PACS/sketch/dog/3.png").unlink()
    assert run(root) == 2
    line = error_line(capsys)
    assert f"'{root}/PACS/sketch' has 7 images, expected 8: move that and its archive away, and run again;" in line
    assert run(root, "DATASET.ALLOW_PARTIAL", "True") == 0
    assert "31 images decoded" in capsys.readouterr().out


@pytest.mark.parametrize("sample", ["all", "4"])
def test_images_that_cannot_be_read_are_named_after_the_table(root, pacs, capsys, sample):
    pacs.rename(root / "PACS")
    for path in (root / "PACS").rglob("3.png"):
        path.write_bytes(b"no image")
    (root / "PACS/cartoon/dog/0.png").unlink()
    (root / "PACS/cartoon/dog/0.png").symlink_to("gone.png")
    assert run(root, "--sample", sample) == 2
    output = capsys.readouterr()
    assert ["test", "2", "8", "7", "8", "25"] in rows(output.out)
    assert f"{root}/PACS/cartoon/dog/0.png (a link to nothing)" in output.err
    if sample == "all":
        assert "9 of 32 decoded images cannot be read: " in output.err
        assert f"{root}/PACS/art_painting/dog/3.png (cannot identify image file" in output.err
        assert output.err.endswith("and 4 more. Put good copies in their place\n")
    else:
        assert output.err.endswith("Put good copies in their place, and look for more with --sample all\n")


@pytest.mark.parametrize(("sample", "decoded"), [("0", 0), ("5", 5), ("32", 32), ("1000", 32), ("all", 32)])
def test_the_sample_is_as_large_as_asked_and_spread_over_the_dataset(root, pacs, capsys, sample, decoded):
    pacs.rename(root / "PACS")
    assert run(root, "--sample", sample) == 0
    assert f"\n{decoded} images decoded" in capsys.readouterr().out
    for path in (root / "PACS").rglob("*.png"):
        path.write_bytes(b"no image")
    assert run(root, "--sample", "4") == 2
    line = error_line(capsys)
    assert [line.count(f"/PACS/{name}/") for name in ("photo", "art_painting", "cartoon", "sketch")] == [1, 1, 1, 1]


@pytest.mark.parametrize("given", ["", "-1", "1.5", "some"])
def test_a_sample_that_is_no_number_is_refused(given):
    with pytest.raises(InputError, match="--sample takes a number of images, or all, not"):
        sample_size(given)


def test_ctrl_c_keeps_the_part(root, served, capsys, monkeypatch):
    served.break_after = [1000]
    monkeypatch.setattr(download.time, "sleep", mock.Mock(side_effect=KeyboardInterrupt))
    assert run(root) == 130
    assert capsys.readouterr().err.endswith("interrupted: the same command goes on from what is done\n")
    assert (root / "PACS.zip.part").stat().st_size == 1000


def test_two_at_once_are_refused(root, served, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    with only_one(root / ".pacs.lock", "prepares pacs"):
        assert run(root) == 2
    assert error_line(capsys) == f"error: another process prepares pacs in '{root}': wait for its end"
    assert run(root) == 0


def test_the_demo_is_rendered_and_verified(root, configs, capsys, monkeypatch):
    shutil.copy(ROOT / "configs" / "demo.yaml", configs)
    monkeypatch.setattr(demo_world, "IMAGES_PER_CLASS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(network, "reachable", None)
    assert run(root, "--sample", "all", "DATASET.TARGET_DOMAINS", "['neon']", dataset="demo") == 0
    classes = len(demo_world.SCENES)
    shown = capsys.readouterr().out
    assert ["test", str(classes), str(classes), str(2 * classes)] in rows(shown)
    assert shown.endswith(f"\n{4 * classes} images decoded\ndemo is complete\n")
    assert (root / "demo_world" / "neon" / "test").is_dir()


def test_sizes_are_shown_in_the_unit_that_fits():
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 12_345_678: "12.3 MB", 6_062_039_589: "6.1 GB"}
    assert {size: show_size(size) for size in sizes} == sizes
