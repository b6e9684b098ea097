"""Names from data that try to be more than names: in the terminal, the log, pages, tables, and paths."""

from __future__ import annotations

import csv
import json
import logging
import re
import threading
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table

from lare_dassl.commands.console import show
from lare_dassl.errors import InputError, exit_code
from lare_dassl.report.formats import write_csv
from lare_dassl.report.page import Options, write_report
from lare_dassl.system.logs import start_logging
from tests.helpers import run_train, shifted_embeddings, write_embeddings

STEERING = "\x1b[31m\x1b]0;title\x07\r\x9b2J\u202e\x00\udcff"
CLASSES = ("<script>alert(1)</script>", f"a{STEERING}", "=1+1", "../../../x\n# owned", "a\"b'c`{{7*7}}{%x%}\\")
DOMAINS = (f"photo{STEERING}", "</script><img src=http://x.invalid/>", "@SUM(1)\n=cmd|' /C calc'!A0")


def steers(text: str) -> bool:
    """Whether a text has more than signs, spaces and line breaks in it."""
    return not all(mark.isprintable() or mark in "\n\u00a0" for mark in text)


@pytest.fixture
def log(monkeypatch):
    """A logger of ours, whose handlers are put back."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield logging.getLogger("lare_dassl.attacked")
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_on_the_terminal_and_in_the_log_steer_nothing(log, capsys):
    def command():
        raise InputError(f"no class '{STEERING}\nerror: another'")

    assert steers(STEERING) and not steers("a\nb é")
    assert exit_code(command) == 2
    error = capsys.readouterr().err
    start_logging()
    log.warning("class %s", f"{STEERING}\nrecord: forged")
    logged = capsys.readouterr().out
    table = Table("class", f"on {STEERING}", title=STEERING)
    table.add_row(f"[red]{STEERING}[/]", "1")
    show(table)
    show(f"report: {STEERING}")
    shown = capsys.readouterr().out
    assert not any(map(steers, (error, logged, shown)))
    assert error.count("\n") == 1 and "\\x1b[31m" in error
    assert logged == "class \\x1b[31m\\x1b]0;title\\x07\\r\\x9b2J\\u202e\\x00\\udcff\\nrecord: forged\n"
    assert "[red]\\x1b[31m" in shown and "report: \\x1b[31m" in shown


def test_no_field_of_a_csv_file_is_a_formula(tmp_path):
    names = ["=1+1", "+1", "-1", "@SUM(1)", "a=1", ""]
    path = write_csv(tmp_path / "x.csv", pd.DataFrame({"=name": names, "value": [-1.5, 2.0, 3.0, 4.0, 5.0, 6.0]}))
    rows = list(csv.reader(path.open(newline="")))
    assert rows[0] == ["'=name", "value"]
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+1", "'-1", "'@SUM(1)", "a=1", ""]
    assert rows[1][1] == "-1.5"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> Path:
    """A folder with two runs on an embedding file of such names, and a report of them."""
    folder = tmp_path_factory.mktemp("attacked")
    embeddings = replace(
        shifted_embeddings(),
        classnames=CLASSES,
        domain_names=DOMAINS,
        source_domains=DOMAINS[:1],
        target_domains=DOMAINS[1:],
    )
    file = write_embeddings(folder / "<b>=1+1.safetensors", embeddings)
    for trainer in ("FineTune", "LARE"):
        output = folder / "runs" / f"=<i>{trainer}"
        words = ("--trainer", trainer, "--seed", 0, "--root", file, "--output-dir", output)
        keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 2, "TRAINER.LARE.EPOCHS", 2)
        assert run_train(*words, *keys) == 0
    write_report(Options(folder / "runs", folder / "report.html"))
    return folder


def test_a_run_writes_nowhere_else_and_its_log_steers_nothing(attacked):
    assert sorted(path.name for path in attacked.iterdir()) == [
        "<b>=1+1.safetensors",
        "report",
        "report.html",
        "runs",
    ]
    logs = [path.read_text() for path in (attacked / "runs").rglob("log.txt")]
    assert len(logs) == 2 and not any(map(steers, logs))


def test_tables_and_figures_hold_the_names_and_nothing_that_steers(attacked):
    files = {path.name: path for path in (attacked / "report").iterdir()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items() if path.suffix != ".png"}
    assert {"tables.md", "tables.tex", "summary.csv", "runs.csv"} <= set(texts)
    assert not any(map(steers, texts.values()))
    assert "\\textless{}b\\textgreater{}=1+1" in texts["tables.tex"]
    assert not re.search(r"(?<!\\)<", texts["tables.md"])
    for name in (name for name in texts if name.endswith(".csv")):
        rows = list(csv.reader(files[name].open(newline="")))
        fields = [field for row in rows for field in row]
        assert not any(field.startswith(("=", "@", "+")) for field in fields)
        assert all(len(row) == len(rows[0]) for row in rows)


class Loaded(HTMLParser):
    """Collects the elements of a page, what their attributes name, and what would be run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[str] = []
        self.handlers: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = {name: value or "" for name, value in attrs}
        names = ("src", "href", "xlink:href", "data", "action", "poster", "srcset", "background", "formaction")
        self.named += [values[name] for name in names if name in values]
        self.handlers += [name for name in values if name.startswith("on")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]


def test_the_page_loads_nothing_runs_nothing_and_steers_nothing(attacked):
    text = (attacked / "report.html").read_text(encoding="utf-8")
    page = Loaded()
    page.feed(text)
    assert not steers(text)
    assert page.tags.count("script") == 1 and page.handlers == []
    assert not {"iframe", "object", "embed", "base", "form", "audio", "video", "source"} & set(page.tags)
    assert all(name.startswith(("#", "data:")) for name in page.named) and len(page.named) > 10
    assert "url(" not in text.replace("url(#", "") and "@import" not in text
    directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert directives["img-src"] == "data:" and "unsafe" not in directives["script-src"]
    # Names of XML's name spaces are no addresses that are loaded.
    bare = re.sub(r' xmlns(:xlink)?="http://www\.w3\.org/[a-z0-9/]+"', "", text)
    assert "https://" not in bare and bare.count("http://") == bare.count("http://x.invalid/") > 0
    assert "&lt;img src=http://x.invalid/&gt;" in text and "<img src=http" not in text


def test_the_record_keeps_the_names_as_they_are(attacked):
    record = json.loads((attacked / "runs" / "=<i>LARE" / "record.json").read_text())
    assert record["target_domains"] == list(DOMAINS[1:])
    assert "../" not in " ".join(path.as_posix() for path in attacked.rglob("*"))
