from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.report.runs.collect import collect, read_predictions
from lare_dassl.results.plan_file import write_plan
from lare_dassl.results.predictions import write_predictions
from lare_dassl.results.record import Metrics
from tests.report.making import content_of, planned, predictions, record, write


def test_records_below_a_folder_are_runs_in_the_order_of_their_paths(tmp_path):
    write(tmp_path / "b", record("LARE", 1))
    write(tmp_path / "a" / "deep", record("LARE", 0))
    write(tmp_path / ".a.12.tmp", record("LARE", 2))
    found = collect(tmp_path)
    assert [run.folder for run in found.runs] == [tmp_path / "a" / "deep", tmp_path / "b"]
    assert [content.seed for content in found.records] == [0, 1]
    assert (found.problems, found.planned) == ((), ())


def test_what_cannot_be_read_is_named_in_one_line_each_and_the_rest_goes_on(tmp_path):
    write(tmp_path / "good", record("LARE", 0))
    text = write(tmp_path / "truncated", record("LARE", 1)).read_text()
    (tmp_path / "truncated" / "record.json").write_text(text[: len(text) // 2])
    write(tmp_path / "newer", content_of(record("LARE", 2)) | {"format": "record/2"})
    write(tmp_path / "foreign", {"name": "another tool's"})
    write(tmp_path / "lacking", content_of(record("LARE", 3)) | {"metrics": None})
    write(tmp_path / "texts", content_of(record("LARE", 4)) | {"metrics": {"ece": "low", "domain_accuracy": {}}})
    write(tmp_path / "unnumbered", content_of(record("LARE", 4)) | {"seed": True})
    found = collect(tmp_path)
    assert [run.folder.name for run in found.runs] == ["good"]
    names = ("foreign", "lacking", "newer", "texts", "truncated", "unnumbered")
    assert len(found.problems) == len(names)
    for name, problem in zip(names, found.problems, strict=True):
        assert str(tmp_path / name / "record.json") in problem
        assert "\n" not in problem
    assert "record/1" in found.problems[0] and "record/1" in found.problems[2]
    assert found.problems[4].endswith("; run its command again")
    assert sum("run its command again" in problem for problem in found.problems) == 1
    assert found.problems[1].endswith("holds no usable 'metrics'")
    assert found.problems[3].endswith("holds no usable 'metrics.ece'")


def test_a_second_run_of_the_same_settings_and_seed_does_not_count(tmp_path):
    write(tmp_path / "a", record("LARE", 0, 60.0))
    write(tmp_path / "b", record("LARE", 0, 61.0))
    write(tmp_path / "c", record("LARE", 0, 61.0, settings={"OPTIM.LR": 0.1}, shots=4))
    found = collect(tmp_path)
    assert [run.folder.name for run in found.runs] == ["a", "c"]
    assert found.problems == (f"left out: {tmp_path / 'b' / 'record.json'} has the settings and the seed of a",)


def test_a_folder_without_usable_records_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        collect(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nothing to report in .*: no record\.json in it or below it"):
        collect(tmp_path)
    write(tmp_path / "newer", content_of(record("LARE", 2)) | {"format": "record/2"})
    with pytest.raises(InputError, match=r"nothing to report in .*newer"):
        collect(tmp_path)


def test_of_runs_that_agree_the_one_of_the_plan_counts(tmp_path):
    for name, value in (("a", 60.0), ("b", 61.0), ("c", 62.0)):
        write(tmp_path / name, record("LARE", 0, value))
    write_plan(tmp_path / "plan.json", [planned("LARE", 0, name) for name in ("c", "b")])
    found = collect(tmp_path)
    assert [run.folder.name for run in found.runs] == ["c"]
    assert found.problems == tuple(
        f"left out: {tmp_path / name / 'record.json'} has the settings and the seed of c" for name in ("b", "a")
    )


@pytest.mark.parametrize("folders", [[], ["a"], ["a", "b"]])
def test_a_run_without_a_test_does_not_hide_one_with(tmp_path, folders):
    untested = {"metrics": Metrics.of({}).model_dump()}
    write(tmp_path / "a", content_of(record("LARE", 0, settings={"TEST.NO_TEST": True})) | untested)
    write(tmp_path / "b", record("LARE", 0, 61.0, settings={"TEST.NO_TEST": False}))
    write_plan(tmp_path / "plan.json", [planned("LARE", 0, name) for name in folders])
    assert [run.folder.name for run in collect(tmp_path).runs] == ["b"]


def test_a_plan_adds_the_runs_that_are_not_finished(tmp_path):
    done, missing = record("LARE", 0), planned("LARE", 1, "LARE/seed1")
    write(tmp_path / "LARE" / "seed0", done)
    write_plan(tmp_path / "plan.json", [planned("LARE", 0, "LARE/seed0"), missing])
    found = collect(tmp_path)
    assert found.planned == (done, missing)
    assert found.problems == ()


def test_a_plan_that_cannot_be_read_is_named_and_left_out(tmp_path):
    write(tmp_path / "a", record("LARE", 0))
    (tmp_path / "plan.json").write_text("{")
    found = collect(tmp_path)
    assert len(found.runs) == 1 and found.planned == ()
    (problem,) = found.problems
    assert problem.startswith(f"left out: cannot read the plan {tmp_path / 'plan.json'}: ")
    assert problem.endswith("; which runs are missing is not known")


def test_names_of_a_record_and_its_predictions_steer_nothing(tmp_path):
    content = record("LARE", 0, source_domains=["a\x1b[31m"], settings={"A.B\x00": "x\u202e\n"})
    write(tmp_path / "a", content)
    write_predictions(tmp_path / "a", replace(predictions([0, 1], [0, 1]), classnames=("\x07", "dog")), "test")
    (run,) = collect(tmp_path).runs
    assert run.record.source_domains == ("a\\x1b[31m",)
    assert run.record.config == {"A": {"B\\x00": "x\\u202e\\n"}}
    assert read_predictions(run).classnames == ("\\x07", "dog")


def test_predictions_lie_beside_the_record(tmp_path):
    write(tmp_path, record("LARE", 0))
    run = collect(tmp_path).runs[0]
    with pytest.raises(InputError, match=r"predictions\.safetensors"):
        read_predictions(run)
    written = predictions([0, 1, 2], [0, 1, 1])
    write_predictions(tmp_path, written, "test")
    assert torch.equal(read_predictions(run).predicted, written.predicted)
