from __future__ import annotations

import base64
import io
import json

import torch
from PIL import Image

from lare_dassl.methods.lare.regions import Regions
from lare_dassl.report.inside.run import open_run
from lare_dassl.report.inside.view import data_uri, look_inside
from tests.helpers import write_image
from tests.report.inside.made_up_run import made_up
from tests.report.run_making import make_run_on_images


def test_a_run_on_images_shows_its_pictures(tmp_path):
    run = open_run(make_run_on_images(tmp_path) / "LARE-0")
    kept = json.loads((tmp_path / "runs" / "LARE-0" / "split.json").read_text())
    assert run.train.names == kept["train"] and len(run.train.names) == 8
    assert run.test.pictures == [tmp_path / "images" / name for name in kept["test"]]
    view = look_inside(run, "a run")
    assert [example.own.class_name for example in view.examples] == ["cat", "dog"]
    shown = view.examples[1]
    assert [picture.domain for picture in (shown.own, *shown.reached)].count("photo") >= 1
    assert shown.own.uri == data_uri(tmp_path / "images" / shown.own.name)


def test_rows_without_pictures_are_named():
    view = look_inside(made_up(), "a run", ["owl"])
    assert "holds no pictures: row numbers stand for them" in view.examples_text
    (example,) = view.examples
    assert (example.own.name, example.own.uri, example.own.class_name) == ("row 3", "", "owl")
    assert example.reached[0].remark == "100 % of samples"
    assert example.reached[0].is_other_class == (example.reached[0].class_name != "owl")


def test_the_captions_say_what_is_drawn_and_why_corners_look_close():
    corner = torch.ones(40, 16)
    corner[:, 1] = -1
    captions = [drawing.caption for drawing in look_inside(made_up(Regions(-corner, corner)), "a run").drawings]
    assert "corners of at most 6 regions of each class" in captions[1]
    assert "than the mean angle of 180° between them suggests: the plane shows two of 16 axes" in captions[1]
    assert "box volume loss (equation 1 of the LARE paper)" in captions[2]


def test_a_picture_that_is_gone_or_damaged_is_told_of(tmp_path):
    run = open_run(make_run_on_images(tmp_path) / "LARE-0")
    run.train.pictures[0].unlink()
    run.test.pictures[1].write_bytes(b"no picture")
    view = look_inside(run, "a run")
    assert len(view.examples) == 2
    own = view.examples[0].own
    assert (own.uri, own.remark) == ("", "trained on (the picture cannot be read)")
    others = [picture for example in view.examples for picture in (example.own, example.nearest, *example.reached)]
    damaged = [picture for picture in others if "cannot be read" in picture.remark]
    assert {picture.name for picture in damaged} <= {run.train.names[0], run.test.names[1]}
    assert sum(bool(picture.uri) for picture in others) == len(others) - len(damaged)


def test_pictures_are_scaled_down(tmp_path):
    path = tmp_path / "wide.png"
    Image.open(write_image(path, seed=1)).resize((400, 200)).save(path)
    head, content = data_uri(path, side=100).split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == (100, 50)
