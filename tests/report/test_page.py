from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.page import Options, inline_svg, key_column, numeric_columns, write_report
from lare_dassl.report.runs.report_table import ReportTable
from lare_dassl.results.record import read_record
from tests.report.making import content_of, record, write
from tests.report.run_making import HOSTILE_CLASSES, HOSTILE_DOMAINS, make_runs_on_embeddings


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs_on_embeddings(tmp_path_factory.mktemp("page"), hostile=True)


@pytest.fixture(scope="module")
def page(runs):
    """The page of four finished runs, as text."""
    return write_report(Options(runs, runs.parent / "whole.html")).read_text(encoding="utf-8")


@pytest.fixture
def copied_runs(runs, tmp_path, monkeypatch):
    """A copy of the runs, to be changed; figures, which take most of the time, are left blank."""
    monkeypatch.setattr("lare_dassl.report.page.save", blank_figure)
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def blank_figure(_, stem):
    path = stem.with_suffix(".svg")
    path.write_text("<svg></svg>")
    return stem.with_suffix(".png"), path


def text_of(path):
    """The words of a page without its tags."""
    content = re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(content).split())


def table_of(page, title):
    """The rows of the table under a title, as lists of the texts of the cells."""
    table = page[page.index(f">{title}</p>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")], flags=re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows[1:]]


def test_the_tables_hold_the_figures_of_the_records(page, runs):
    records = [json.loads((runs / f"LARE-{seed}" / "record.json").read_text()) for seed in (0, 1)]
    values = [content["metrics"]["out_of_domain_accuracy"] for content in records]
    rows = table_of(page, "embeddings: accuracy and calibration")
    assert [row[0] for row in rows] == ["FineTune", "LARE"]
    assert rows[1][3].startswith(f"{sum(values) / 2:.1f} ± ")
    names = [row[0] for row in table_of(page, "Runs")]
    assert names == ["FineTune-0", "FineTune-1", "LARE-0", "LARE-1"]
    (difference,) = table_of(page, "embeddings: difference to FineTune, percentage points")
    assert difference[0] == "LARE" and re.match(r"[+−]?\d+\.\d \[", difference[1])


def test_the_page_says_what_was_run(runs, page):
    words = text_of(runs.parent / "whole.html")
    expected = "4 runs of FineTune and LARE on embeddings; all training images per class; seeds 0 and 1."
    assert expected in words
    assert "Missing runs" not in words and "Left out" not in words
    assert "The run LARE-0 (seed 0) has a region for each of its 40 training embeddings." in words
    assert "which holds no pictures: row numbers stand for them" in words


def change(path, there, instead):
    """Write a record anew with other words in it."""
    text = json.dumps(content_of(read_record(path)))
    assert there in text
    write(path.parent, json.loads(text.replace(there, instead)))


def test_variants_are_counted_above_and_named_in_the_tables(copied_runs):
    path = copied_runs / "LARE-1" / "record.json"
    change(path, '"INIT": "random"', '"INIT": "text"')
    report = write_report(Options(copied_runs, copied_runs / "report.html"))
    assert "4 runs of FineTune and LARE in 2 variants on embeddings" in text_of(report)
    names = [row[0] for row in table_of(report.read_text(), "embeddings: accuracy and calibration")]
    assert names == ["FineTune", "LARE (INIT=random)", "LARE (INIT=text)"]


def test_names_are_escaped(page):
    for name in (*HOSTILE_CLASSES, *HOSTILE_DOMAINS[1:]):
        assert html.escape(name) in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert "<img src=x" not in page and "<i>sketch" not in page
    assert page.count("</script>") == 1


def test_nothing_is_loaded_and_only_the_scripts_of_the_page_may_run(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(source.startswith(("#", "data:")) for source in sources)
    assert not re.search(r"@import|url\((?!#)", page)
    script = re.search(r"<script>(.*?)</script>", page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_ids_are_unique_and_references_meet_them(page):
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)|aria-labelledby="([^"]*)"', page)
    names = {name for group in used for name in group if name}
    assert len(names) > 20 and names <= set(ids)


def test_tables_and_figures_lie_beside_the_page(runs, page):
    names = {path.name for path in (runs.parent / "whole").iterdir()}
    assert {"tables.md", "tables.tex", "summary.csv", "runs.csv", "differences.csv"} <= names
    stems = ("embeddings_domains", "embeddings_gain", "embeddings_reliability_lare", "inside_regions", "inside_sizes")
    for stem in stems:
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    svgs = [name for name in names if name.endswith(".svg")]
    assert page.count('role="img"') == len(svgs) == 7


def test_the_same_runs_give_the_same_page(runs, page, tmp_path):
    again = write_report(Options(runs, tmp_path / "whole.html"))
    assert again.read_text(encoding="utf-8") == page


def test_without_a_plan_the_page_says_so_once(copied_runs):
    report = write_report(Options(copied_runs, copied_runs / "report.html"))
    assert text_of(report).count("There is no plan of these runs") == 1
    entries = [
        json.loads(path.read_text()) | {"folder": path.parent.name} for path in copied_runs.glob("*/record.json")
    ]
    missing = entries[0] | {"folder": "later", "seed": 7}
    (copied_runs / "plan.json").write_text(json.dumps({"format": "plan/1", "runs": [*entries, missing]}))
    words = text_of(write_report(Options(copied_runs, copied_runs / "report.html")))
    assert "There is no plan" not in words
    assert f"imbalance 1, {missing['trainer']}: 2 of 3 runs are there" in words
    assert re.search(r"1 seed is missing: a hollow point", words)


def test_runs_on_val_are_not_said_to_be_on_test(copied_runs):
    for path in copied_runs.glob("FineTune-*/record.json"):
        change(path, '"split": "test"', '"split": "val"')
    report = write_report(Options(copied_runs, copied_runs / "report.html"))
    assert [row[0] for row in table_of(report.read_text(), "embeddings: accuracy and calibration")] == [
        "FineTune (on val)",
        "LARE",
    ]
    (difference,) = table_of(report.read_text(), "embeddings: difference to FineTune, percentage points")
    assert difference == ["LARE", "missing", "missing", "0 of 2 †"]
    words = text_of(report)
    assert "seeds 0, 1: it is tested on test, and FineTune on val" in words
    assert "Accuracy of FineTune (on val) against its confidence on all validation images of embeddings" in words


def test_missing_and_unreadable_runs_are_named(copied_runs, caplog):
    (copied_runs / "LARE-1" / "record.json").write_text('{"format": "record/1", "tra')
    words = text_of(write_report(Options(copied_runs, copied_runs / "report.html")))
    assert "embeddings, shots all, imbalance 1, LARE: 1 of 2 runs are there" in words
    assert re.search(r"Left out cannot read the record \S*LARE-1/record\.json: .*; run its command again", words)
    assert "LARE-1" in caplog.text


def test_data_that_is_gone_costs_the_look_inside_alone(copied_runs):
    for path in copied_runs.glob("*/record.json"):
        change(path, "embeddings.safetensors", "embeddings.gone.safetensors")
    report = write_report(Options(copied_runs, copied_runs / "report.html"))
    words = text_of(report)
    assert re.search(r"The run in \S+LARE-0 cannot be looked into: \S.*embeddings\.gone", words)
    assert "LARE-0" in [row[0] for row in table_of(report.read_text(), "Runs")]
    assert 'role="img"' in report.read_text()


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("FineTune-*", "There is no run of FineTune; --baseline names another method to compare with."),
        ("LARE-*/regions", "There is no run of LARE with its regions among these."),
        ("LARE-*", "Paired differences All runs are of FineTune: there is no other method to compare with it."),
    ],
)
def test_what_cannot_be_shown_is_explained(copied_runs, gone, expected):
    for path in copied_runs.glob(gone):
        shutil.rmtree(path)
    assert expected in text_of(write_report(Options(copied_runs, copied_runs / "report.html")))


def test_the_run_on_the_most_images_is_looked_into(copied_runs):
    path = copied_runs / "LARE-1" / "record.json"
    change(path, '"train": 40', '"train": 41')
    words = text_of(write_report(Options(copied_runs, copied_runs / "report.html")))
    assert "The run LARE-1 (seed 1) has a region" in words


def test_a_run_and_classes_may_be_chosen(copied_runs):
    options = Options(copied_runs, copied_runs / "report.html", run=copied_runs / "LARE-1", classes=("owl, %", "$x^$"))
    words = text_of(write_report(options))
    assert "The run LARE-1 (seed 1) has a region" in words
    assert "real embeddings of 2 classes (owl, %, $x^$)" in words


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "FinTune"}, "FineTune"),
        ({"reference": "cup"}, "did you mean 'cub'"),
        ({"classes": ("owl",)}, "unknown class 'owl'"),
        ({"run": Path("FineTune-0")}, "is a run of FineTune without regions"),
        ({"run": Path("nowhere")}, "cannot read the record"),
        ({"run": Path("../odd")}, r"odd/record\.json holds no usable 'config'"),
        ({"output": Path("report")}, r"--output .*report must end in \.html"),
    ],
)
def test_mistakes_of_the_user_are_refused_before_anything_is_written(runs, tmp_path, changes, message):
    write(runs.parent / "odd", content_of(record("LARE", 0)) | {"config": "none"})
    places = {"run": runs, "output": tmp_path}
    changes = {name: places[name] / value if name in places else value for name, value in changes.items()}
    with pytest.raises(InputError, match=message):
        write_report(Options(**{"folder": runs, "output": tmp_path / "report.html"} | changes))
    assert list(tmp_path.iterdir()) == []


def test_reported_figures_stand_beside_the_measured_ones(copied_runs):
    report = write_report(Options(copied_runs, copied_runs / "report.html", reference="cub"))
    rows = table_of(report.read_text(), "CUBPainting: reported and measured")
    assert ["LARE", "reported", "87.01 ± 0.04", "72.98 ± 0.16"] in [row[:4] for row in rows]


def test_columns_of_numbers_are_known():
    rows = (("1", "LARE", "60.3 ± 1.4 †", "−4.7 [−5.0, −4.4]", "1a"), ("all", "missing", "–", "missing", "2"))
    assert numeric_columns(ReportTable("", tuple("abcde"), rows)) == [True, False, True, True, False]
    assert numeric_columns(ReportTable("", ("a",), ())) == [False]


def test_the_method_is_the_column_that_stays():
    assert key_column(ReportTable("", ("shots", "method", "seeds"), ())) == 1
    assert key_column(ReportTable("", ("setting", "value"), ())) == 0


def test_an_svg_is_made_part_of_the_page():
    text = '<?xml version="1.0"?>\n<!-- <b> -->\n<svg width="9pt" height="8pt" viewBox="0 0 9 8"><metadata>m</metadata>'
    text += '<path id="p1" clip-path="url(#c)"/><use xlink:href="#p1" width="5"/></svg>'
    shown = inline_svg(text, "5-name", 'a "b" <c>')
    assert shown == (
        '<svg viewBox="0 0 9 8" role="img" aria-label="a &#34;b&#34; &lt;c&gt;">'
        '<path id="5-name-p1" clip-path="url(#5-name-c)"/><use xlink:href="#5-name-p1" width="5"/></svg>'
    )
