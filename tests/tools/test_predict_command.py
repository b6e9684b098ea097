from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from lare_dassl import vlm
from lare_dassl.results.classifier_file import read_classifier, write_classifier
from lare_dassl.results.image_classifier import load_classifier
from tests.helpers import train_on_images, write_image
from tools.predict import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_on_images(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained, capsys, monkeypatch):
    """`tools/predict.py --model-dir RUN WORDS...`: exit code, standard output, standard error."""

    def run_tool(*words, folder=trained / "run"):
        monkeypatch.setattr(sys, "argv", ["predict.py", "--model-dir", str(folder), *map(str, words)])
        code = main()
        return code, *capsys.readouterr()

    return run_tool


def lines_of(output):
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.usefixtures("progress_bars")
def test_each_image_is_a_line_of_json(trained, run):
    folder = trained / "images" / "sketch"
    code, output, errors = run(folder, "--json", "--top", 2)
    assert code == 0
    assert "classifying images: 100%" in errors and "30/30" in errors and "note" not in errors
    paths = [folder / name / f"{number}.png" for name in ("cat", "dog", "owl") for number in range(10)]
    expected = load_classifier(trained / "run").classify(paths, top=2)
    lines = lines_of(output)
    assert [line["path"] for line in lines] == [str(one.path) for one in expected]
    for line, one in zip(lines, expected, strict=True):
        best = zip(one.names, one.probabilities, strict=True)
        assert line["predictions"] == [{"class": name, "probability": probability} for name, probability in best]


def test_the_table_shows_the_same(trained, run):
    image = trained / "images" / "photo" / "cat" / "0.png"
    code, output, _ = run(image)
    (expected,) = load_classifier(trained / "run").classify([image])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    assert code == 0
    assert "".join(row[0] for row in rows) == str(image)
    named = [(row[1], row[2]) for row in rows if row[1]]
    assert named == [(name, f"{100 * p:.1f}") for name, p in zip(expected.names, expected.probabilities, strict=True)]


def test_unreadable_files_are_named_and_the_others_are_classified(trained, run, tmp_path):
    folder = shutil.copytree(trained / "images" / "photo" / "cat", tmp_path / "images")
    os.mkfifo(tmp_path / "pipe.jpg")
    (folder / "3.png").write_bytes(b"no image")
    (folder / "4.png").unlink()
    (folder / "4.png").symlink_to(tmp_path / "gone.png")
    (folder / "sub").mkdir()
    (folder / "sub" / "two\nlines.png").write_bytes((folder / "0.png").read_bytes()[:50])
    code, output, errors = run(folder, tmp_path / "missing.jpg", tmp_path / "pipe.jpg", "--json", "--batch-size", 4)
    assert code == 2
    assert [Path(line["path"]).name for line in lines_of(output)] == [f"{n}.png" for n in range(10) if n not in (3, 4)]
    starts = [
        f"cannot read {folder}/3.png: cannot identify image file",
        f"cannot read {folder}/4.png: a link to nothing",
        f"cannot read {folder}/sub/two\\nlines.png: ",
        f"cannot read {tmp_path}/missing.jpg: No such file or directory",
        f"cannot read {tmp_path}/pipe.jpg: no regular file",
        "error: 5 of 13 images cannot be read, all others are classified",
    ]
    named = errors.splitlines()[-6:]
    assert [line.startswith(start) for line, start in zip(named, starts, strict=True)] == [True] * 6, named


def test_names_cannot_steer_the_terminal(trained, run, tmp_path):
    saved = read_classifier(trained / "run" / "classifier.safetensors")
    names = ("[bold]cat[/]", "\x1b[31mdog", ":owl:")
    write_classifier(tmp_path / "classifier.safetensors", replace(saved, classnames=names))
    image = write_image(tmp_path / "[red]x\x1b[2J.png", seed=1)
    _, table, _ = run(image, folder=tmp_path)
    assert "[bold]cat[/]" in table and "\\x1b[31mdog" in table and ":owl:" in table
    _, lines, _ = run(image, "--json", folder=tmp_path)
    assert "\x1b" not in table + lines
    (line,) = lines_of(lines)
    assert line["path"] == str(image)
    assert {one["class"] for one in line["predictions"]} == set(names)


def test_a_note_names_probabilities_that_are_not_calibrated(trained, run, tmp_path):
    saved = read_classifier(trained / "run" / "classifier.safetensors")
    write_classifier(tmp_path / "classifier.safetensors", replace(saved, temperature=1.0, calibration_rows=0))
    code, output, errors = run(trained / "images" / "photo" / "cat", "--json", folder=tmp_path)
    assert code == 0 and len(lines_of(output)) == 10
    assert "note: probabilities are not calibrated, for the run had no validation images\n" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--top", 0), "--top must be at least 1, not 0"),
        (("--batch-size", 0), "--batch-size must be at least 1, not 0"),
        (("--backbone", "ViT-B-33"), r"the frozen model of .*unknown model \(MODEL\.BACKBONE\.NAME\) 'ViT-B-33'"),
        (("--pretrained", "x.pt"), "the frozen model of .* brings its own weights"),
    ],
)
def test_mistakes_are_one_line(trained, run, words, message):
    code, output, errors = run(trained / "images" / "photo", *words)
    assert (code, output) == (2, "")
    assert re.search(f"^error: {message}", errors.splitlines()[-1])


def test_places_without_images_and_without_runs_are_one_line(trained, run, tmp_path):
    assert run(tmp_path) == (2, "", f"error: there is no image below {tmp_path}\n")
    code, _, errors = run(trained / "images", folder=tmp_path)
    assert code == 2 and errors.startswith(f"error: {tmp_path} holds no finished run")
    missing = f"error: --model-dir {tmp_path}/nothing: there is no such run\n"
    assert run(trained / "images", folder=tmp_path / "nothing") == (2, "", missing)


def test_ctrl_c_is_one_line(trained, run, monkeypatch, capsys):
    monkeypatch.setattr(vlm, "load", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit) as stop:
        run(trained / "images" / "photo", "--json")
    assert stop.value.code == 130
    output, errors = capsys.readouterr()
    assert output == "" and errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
