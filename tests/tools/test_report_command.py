from __future__ import annotations

import shutil
import sys

import pytest

from tests.report.making import write
from tests.report.run_making import make_runs_on_embeddings
from tools import report


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_runs_on_embeddings(tmp_path_factory.mktemp("command"))


@pytest.fixture
def runs(made, tmp_path, monkeypatch):
    """A copy of four runs, in the folder that the command is given in."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, tmp_path / "runs")


@pytest.fixture
def command(monkeypatch):
    """`tools/report.py WORDS...` in this process; gives the exit code."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, words)])
        return report.main()

    return run


def test_the_page_is_written_beside_the_runs(runs, command, capsys):
    assert command(runs) == 0
    # Dassl says in a line of its own that it loads a dataset.
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {runs / 'report.html'}"
    page = (runs / "report.html").read_text(encoding="utf-8")
    assert "<h1>Results of runs</h1>" in page and "Each method minus FineTune" in page
    assert (runs / "report" / "tables.md").is_file()
    # What a report leaves is no run: the next one says the same.
    assert command(runs) == 0
    assert (runs / "report.html").read_text(encoding="utf-8") == page


def test_the_help_says_which_files_are_written(command, capsys):
    with pytest.raises(SystemExit):
        command("--help")
    words = " ".join(capsys.readouterr().out.split())
    names = "report.html tables.md tables.tex summary.csv runs.csv differences.csv .png .svg"
    assert [name for name in names.split() if name not in words] == []


def test_flags_choose_what_is_shown(runs, tmp_path, command):
    flags = ["--output", tmp_path / "page.html", "--baseline", "LARE", "--reference", "cub", "--run", runs / "LARE-1"]
    assert command(runs, *flags, "--classes", "owl", "wren") == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Each method minus LARE" in page
    assert "CUBPainting: reported and measured" in page
    assert "The run LARE-1 (seed 1)" in page and "of 2 classes (owl, wren)" in page
    assert (tmp_path / "page" / "inside_regions.png").is_file() and not (runs / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no folder"),
        (["empty"], "nothing to report in"),
        (["runs", "--baseline", "Finetun"], "FineTune"),
        (["runs", "--run", "runs/FineTune-0"], "is a run of FineTune without regions"),
        (["runs", "--run", "odd"], "odd/record.json holds no usable 'dataset'"),
        (["runs", "--classes", "cats"], "unknown class 'cats': did you mean 'cat'?"),
        (["runs", "--output", "page.pdf"], "--output page.pdf must end in .html"),
    ],
)
def test_a_mistake_ends_in_one_line(runs, command, capsys, words, message):
    (runs.parent / "empty").mkdir()
    write(runs.parent / "odd", {"format": "record/1", "trainer": "LARE"})
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_runs_that_cannot_be_read_are_named_and_the_rest_goes_on(runs, command, capsys):
    (runs / "LARE-0" / "record.json").write_text("{")
    assert command(runs, "--run", runs / "LARE-1") == 0
    assert "LARE-0" in (runs / "report.html").read_text(encoding="utf-8")
