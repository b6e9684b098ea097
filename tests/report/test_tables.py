from __future__ import annotations

import io
import math
import re

import pandas as pd
import pytest

from lare_dassl.errors import InputError
from lare_dassl.report.formats import WIDE_LATEX, escape_latex, latex, latex_labels, markdown
from lare_dassl.report.runs.report_table import ReportTable
from lare_dassl.report.runs.results import results_of
from lare_dassl.report.runs.summary import cells
from lare_dassl.report.tables import accuracy_tables, curve_tables, domain_tables, write_tables
from tests.report.making import changed, collection_of, record


def few_shot_records():
    values = {("FineTune", 1): (50.0, 52.0), ("LARE", 1): (60.0,), ("LARE", 4): (70.0, 71.0)}
    return [
        record(trainer, seed, value, shots=shots, domain_accuracy={"photo": value, "neon": value - 20})
        for (trainer, shots), of_cell in values.items()
        for seed, value in enumerate(of_cell)
    ]


def test_a_table_marks_cells_of_fewer_seeds_and_names_those_of_none():
    records = few_shot_records()
    planned = [record(trainer, seed, shots=n) for trainer in ("FineTune", "LARE") for n in (1, 4) for seed in (0, 1)]
    table = accuracy_tables(cells(records, planned), metrics=("accuracy",))[0]
    assert table.title == "DemoWorld: accuracy and calibration"
    assert table.columns == ("shots", "method", "accuracy, %", "seeds")
    assert table.rows == (
        ("1", "FineTune", "51.0 ± 1.4", "2"),
        ("1", "LARE", "60.0 †", "1 of 2"),
        ("4", "FineTune", "missing", "0 of 2"),
        ("4", "LARE", "70.5 ± 0.7", "2"),
    )
    assert table.notes == (
        "Mean ± sample standard deviation (ddof 1) over 2 seeds.",
        "† of fewer seeds than the 2 expected.",
        "missing: no finished run.",
    )


def test_where_cells_have_other_seeds_the_notes_say_so():
    planned = [record("ZeroShot", 0), *(record("LARE", seed) for seed in range(3))]
    (table,) = accuracy_tables(cells(planned[:2], planned), metrics=("accuracy",))
    assert table.rows == (("ZeroShot", "60.0", "1"), ("LARE", "60.0 †", "1 of 3"))
    assert table.notes == (
        "Mean ± sample standard deviation (ddof 1) over 1 to 3 seeds.",
        "† of fewer seeds than expected.",
    )


def test_shots_and_imbalance_are_told_where_they_are_not_the_usual():
    plain = accuracy_tables(cells([record("LARE", 0)]))[0]
    assert plain.columns[0] == "method"
    assert len(plain.notes) == 1
    tailed = accuracy_tables(cells([record("LARE", 0), record("LARE", 0, imbalance=10.0)]))[0]
    assert tailed.columns[:2] == ("imbalance", "method")
    assert [row[0] for row in tailed.rows] == ["1", "10"]


def test_a_metric_of_fewer_seeds_than_the_cell_says_of_how_many():
    records = [record("LARE", 0, 60.0), record("LARE", 1, 62.0, ece=None)]
    table = accuracy_tables(cells(records), metrics=("accuracy", "ece"))[0]
    assert table.rows == (("LARE", "61.0 ± 1.4", "10.0 † (n = 1)", "2"),)


def test_metrics_that_no_run_has_are_left_out_and_each_dataset_has_its_table():
    records = [
        record("LARE", 0, dataset=name, out_of_domain_accuracy=value) for name, value in (("A", None), ("B", 5.0))
    ]
    tables = accuracy_tables(cells(records), metrics=("accuracy", "out_of_domain_accuracy"))
    assert [table.columns for table in tables] == [
        ("method", "accuracy, %", "seeds"),
        ("method", "accuracy, %", "out-of-domain accuracy, %", "seeds"),
    ]


def test_each_domain_has_its_column():
    table = domain_tables(cells(few_shot_records()))[0]
    assert table.columns == ("shots", "method", "photo, %", "neon, %", "seeds")
    assert table.rows[0] == ("1", "FineTune", "51.0 ± 1.4", "31.0 ± 1.4", "2")
    assert domain_tables(cells([record("LARE", 0)])) == []


def test_a_curve_has_a_column_for_each_number_of_shots():
    records = [*few_shot_records(), record("LARE", 0, 90.0, shots=1, imbalance=10.0)]
    planned = [*records, *(record("LARE", seed, shots=n) for n in (1, 4) for seed in (0, 1))]
    table = curve_tables(cells(records, planned), "shots", "accuracy")[0]
    assert table.columns == ("method", "shots 1", "shots 4")
    assert table.rows == (("FineTune", "51.0 ± 1.4", "–"), ("LARE", "60.0 † (n = 1)", "70.5 ± 0.7"))
    planned.append(record("FineTune", 0, shots=4))
    assert curve_tables(cells(records, planned), "shots", "accuracy")[0].rows[0][2] == "missing"
    assert curve_tables(cells(records, records), "imbalance", "accuracy") == []
    tailed = [record("LARE", 0, 60.0 - ratio, imbalance=ratio) for ratio in (1.0, 50.0)]
    table = curve_tables(cells(tailed), "imbalance", "accuracy")[0]
    assert (table.columns, table.rows) == (("method", "ratio 1", "ratio 50"), (("LARE", "59.0", "10.0"),))


AWKWARD = ReportTable("A_B & 100 %", ("method", r"x|y\z"), (("[a_b] {50} #1 $~^", "65.4 ± 0.6 †"),), ("−1 < 2",))


def test_markdown_has_as_many_cells_in_each_row_whatever_the_names_hold():
    lines = markdown(AWKWARD).splitlines()
    assert lines[0] == r"**A\_B \& 100 %**"
    rows = [line for line in lines if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3, 3, 3]
    assert rows[0] == r"| method | x\|y\\z |"
    assert lines[-1] == r"−1 \< 2"


def test_no_name_becomes_a_picture_a_link_or_a_tag():
    text = markdown(ReportTable("t", ("![x](http://evil/x.png)", "<b>&lt;`"), ()))
    assert r"| \!\[x\](http://evil/x.png) | \<b\>\&lt;\` |" in text


def test_latex_is_balanced_and_has_booktabs_rules():
    text = latex(AWKWARD, "tab:a-b")
    lines = text.splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    rows = [line for line in lines if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 1]
    assert r"\begin{tabular}{lr}" in lines
    assert lines[2:4] == [r"\caption{A\_B \& 100 \%. $-$1 \textless{} 2}", r"\label{tab:a-b}"]
    assert rows[1] == r"{[}a\_b] \{50\} \#1 \$\textasciitilde{}\textasciicircum{} & 65.4 $\pm$ 0.6 $\dagger$ \\"


def test_wide_tables_are_scaled_to_the_text():
    wide = ReportTable("t", ("method", "note"), (("LARE", "x" * WIDE_LATEX),))
    lines = latex(wide, "tab:t").splitlines()
    assert lines[4:6] == [r"\resizebox{\linewidth}{!}{%", r"\begin{tabular}{lr}"]
    assert lines[-2:] == [r"\end{tabular}}", r"\end{table}"]
    assert "resizebox" not in latex(AWKWARD, "tab:a-b")


def test_labels_are_of_plain_letters_and_none_is_used_twice():
    titles = ("PACS: accuracy, %", "A_B: x", "A B: x", "日本: x", "中国: x")
    assert latex_labels(titles) == ["tab:pacs-accuracy", "tab:a-b-x", "tab:a-b-x:2", "tab:x", "tab:x:2"]


def test_captions_say_mean_and_std_once(tmp_path):
    texts = write_tables(tmp_path, results_of(collection_of(*few_shot_records())))[1].read_text()
    captions = re.findall(r"\\caption\{(.*)\}", texts)
    labels = re.findall(r"\\label\{(.*)\}", texts)
    assert len(captions) == len(set(labels)) >= 3
    assert all(len(re.findall(r"(?i)mean", caption)) == 1 for caption in captions)


def test_every_sign_that_latex_reads_as_a_command_is_escaped():
    assert escape_latex("a_b & 5% #1 $x {y} \\z ~ ^") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{}"
    )
    assert escape_latex("two\nlines") == "two lines"


def test_files_hold_all_figures_in_full(tmp_path):
    records = few_shot_records()
    records[0] = changed(records[0], accuracy=100 / 3, seconds={"total": 12.5})
    collection = collection_of(*records, problems=("left out: ![x](y)\nof 5 %",))
    paths = write_tables(tmp_path / "new", results_of(collection, baseline="FineTune", reference="cub"))
    names = ["tables.md", "tables.tex", "summary.csv", "runs.csv", "differences.csv"]
    assert paths == [tmp_path / "new" / name for name in names]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    runs = pd.read_csv(paths[3], keep_default_na=False)
    assert runs["accuracy"][0] == 100 / 3
    keys = ["trainer", "shots", "seed"]
    assert list(runs)[:3] == ["folder", "method", "dataset"]
    assert runs[["folder", "method", "seconds"]].iloc[0].tolist() == ["run0", "FineTune", "12.5"]
    assert runs[keys].to_numpy().tolist() == [[getattr(run, name) for name in keys] for run in records]
    summary = pd.read_csv(paths[2])
    expected = cells(records)
    assert list(summary) == list(expected)
    pd.testing.assert_frame_equal(summary.drop(columns="variant"), expected.drop(columns="variant"), check_exact=True)
    assert math.isnan(summary["accuracy_std"][1])
    differences = pd.read_csv(paths[4])
    assert differences[["shots", "n"]].to_numpy().tolist() == [[1, 1], [1, 1], [4, 0], [4, 0]]
    assert differences["mean"][:2].tolist() == [10.0, 10.0]


def test_problems_stand_below_the_tables(tmp_path):
    collection = collection_of(*few_shot_records(), problems=("left out: ![x](y)\nof 5 %",))
    paths = write_tables(tmp_path, results_of(collection, baseline="FineTune"))
    texts = [path.read_text() for path in paths[:2]]
    assert texts[0].count("\n\n|") == texts[1].count(r"\toprule") >= 3
    unpaired = "LARE on DemoWorld, shots 4, imbalance 1, seeds 0, 1: no run of FineTune to compare it with\n"
    assert "\n- left out: \\!\\[x\\](y) of 5 %\n" in texts[0]
    assert f"\n- {unpaired}" in texts[0]
    assert texts[1].startswith("% Needs the packages booktabs, ")
    assert "\n% left out: ![x](y) of 5\\%\n" in texts[1].replace("5 ", "5")
    assert f"\n% {unpaired}" in texts[1]


def test_without_a_baseline_there_are_no_differences(tmp_path):
    collection = collection_of(record("LARE", 0))
    assert "differences.csv" not in [path.name for path in write_tables(tmp_path, results_of(collection))]
    with pytest.raises(InputError, match="unknown baseline 'FineTune'"):
        results_of(collection, baseline="FineTune")


def test_a_name_with_a_comma_stays_one_field(tmp_path):
    settings = [{"VLM.TEMPLATES": ["a", "b"]}, {"VLM.TEMPLATES": ["c"]}]
    collection = collection_of(*(record("LARE", 0, settings=own) for own in settings))
    path = write_tables(tmp_path, results_of(collection))[3]
    frame = pd.read_csv(io.StringIO(path.read_text()))
    assert frame["variant"].tolist() == ["TEMPLATES=['a', 'b']", "TEMPLATES=['c']"]
