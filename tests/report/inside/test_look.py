from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.methods.lare.regions import Regions
from lare_dassl.report.inside import figures
from lare_dassl.report.inside.figures import embedding_figure, plane_points, region_figure, short, size_figure
from lare_dassl.report.inside.look import (
    InsideRun,
    ShownRows,
    check_run,
    chosen_classes,
    example_of,
    nearest_rows,
    open_run,
    principal_projection,
    reach_of,
    recorded_config,
    region_angles,
    rows_of_class,
)
from lare_dassl.report.inside.view import data_uri, look_inside
from lare_dassl.results.record import read_record, write_record
from tests.helpers import shifted_embeddings, write_image
from tests.report.run_making import make_run_on_images, make_runs_on_embeddings


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs_on_embeddings(tmp_path_factory.mktemp("inside"))


@pytest.fixture
def copied_runs(runs, tmp_path):
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def made_up(regions: Regions | None = None) -> InsideRun:
    """A run on `shifted_embeddings`; left out, each region is the embedding itself."""
    embeddings = shifted_embeddings()
    own = embeddings.train.embedding
    names = {part: ShownRows([f"row {row}" for row in range(len(rows))], None) for part, rows in _parts(embeddings)}
    return InsideRun(Path("run"), 0, embeddings, regions or Regions(own, own), names["train"], names["test"])


def _parts(embeddings):
    return [(part, embeddings.splits()[part]) for part in ("train", "test")]


def test_a_run_is_rebuilt_with_the_regions_that_its_network_gives(runs):
    run = open_run(runs / "LARE-1")
    expected = shifted_embeddings()
    assert run.seed == 1
    torch.testing.assert_close(run.embeddings.train.embedding, expected.train.embedding)
    assert run.test.names == [f"row {row}" for row in range(60)] and run.test.pictures is None

    weights = checkpoint.read(checkpoint.latest(runs / "LARE-1" / "regions"))["state_dict"]
    hidden = (expected.train.embedding @ weights["hidden.weight"].T + weights["hidden.bias"]).clamp(min=0)
    first, second = (hidden @ weights["corners.weight"].T + weights["corners.bias"]).split(16, dim=1)
    torch.testing.assert_close(run.regions.lower, torch.minimum(first, second))
    torch.testing.assert_close(run.regions.upper, torch.maximum(first, second))


def test_the_recorded_config_is_the_one_that_ran(copied_runs):
    record = read_record(copied_runs / "LARE-0" / "record.json")
    record.config["DATASET"]["FOLDER"] = "2024"
    record.config["NO_LONGER_KNOWN"] = {"KEY": 1}
    del record.config["CLASSIFIER"]
    write_record(copied_runs / "LARE-0", record)
    cfg = recorded_config(copied_runs / "LARE-0")
    assert cfg.DATASET.FOLDER == "2024"
    assert (cfg.TRAINER.LARE.EPOCHS, cfg.SEED, cfg.CLASSIFIER.INIT) == (2, 0, "random")


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


def test_data_that_is_gone_or_has_changed_is_named(runs, copied_runs):
    file = runs.parent / "embeddings.safetensors"
    split = copied_runs / "LARE-0" / "split.json"
    split.write_text(split.read_text().replace('"test": [\n  0,', '"test": [\n  1,'))
    with pytest.raises(InputError, match=r"the test rows of EmbeddingFile are no longer those that .*split\.json"):
        open_run(copied_runs / "LARE-0")
    split.write_text("{")
    with pytest.raises(InputError, match=r"split\.json is damaged"):
        open_run(copied_runs / "LARE-0")
    split.unlink()
    with pytest.raises(InputError, match=r"the data of \S+LARE-0 cannot be read: .*split\.json"):
        open_run(copied_runs / "LARE-0")
    moved = file.rename(file.with_suffix(".moved"))
    with pytest.raises(InputError, match=r"embeddings\.safetensors"):
        open_run(runs / "LARE-0")
    moved.rename(file)


def test_a_run_without_regions_is_refused(runs, tmp_path):
    check_run(runs / "LARE-0")
    with pytest.raises(InputError, match="is a run of FineTune without regions: give one of LARE"):
        check_run(runs / "FineTune-0")
    with pytest.raises(InputError, match="cannot read the record"):
        check_run(tmp_path)


def test_a_run_without_its_network_is_told(copied_runs):
    folder = next(copied_runs.rglob("regions")).parent
    shutil.rmtree(folder / "regions")
    with pytest.raises(InputError) as error:
        open_run(folder)
    assert str(error.value) == f"no region network in {folder / 'regions'}"


def test_a_run_on_a_dataset_of_a_plugin_that_is_not_there_is_told(copied_runs):
    folder = next(copied_runs.rglob("regions")).parent
    record = read_record(folder / "record.json")
    record.config["DATASET"]["NAME"] = "EmbeddingFiles"
    write_record(folder, record)
    with pytest.raises(InputError, match=r"unknown dataset 'EmbeddingFiles'.*EmbeddingFile"):
        open_run(folder)


def test_a_network_of_another_width_is_refused(copied_runs):
    folder = copied_runs / "LARE-0"
    record = read_record(folder / "record.json")
    record.config["TRAINER"]["LARE"]["HIDDEN_DIM"] = 100
    write_record(folder, record)
    with pytest.raises(InputError, match=r"HIDDEN_DIM is 384 there and 100 here"):
        open_run(folder)
    state = checkpoint.read(checkpoint.latest(folder / "regions"))
    del state["run"]["TRAINER.LARE.HIDDEN_DIM"]
    checkpoint.write(state, folder / "regions", "model.pth.tar-2")
    with pytest.raises(InputError, match="is of another model"):
        open_run(folder)


def test_the_network_of_another_run_is_refused(copied_runs):
    shutil.rmtree(copied_runs / "LARE-0" / "regions")
    shutil.copytree(copied_runs / "LARE-1" / "regions", copied_runs / "LARE-0" / "regions")
    with pytest.raises(InputError, match=r"is of another run than .*record\.json \(SEED is 1 there and 0 here\)"):
        open_run(copied_runs / "LARE-0")


def test_the_projection_is_that_of_the_singular_values():
    points = torch.randn(50, 7, generator=torch.Generator().manual_seed(3)) * torch.arange(7, 0, -1)
    project = principal_projection(points)
    centred = points.double().numpy() - points.double().numpy().mean(axis=0)
    _, values, axes = np.linalg.svd(centred)
    for axis in (0, 1):
        sign = np.sign(axes[axis][np.abs(axes[axis]).argmax()])
        np.testing.assert_allclose(project(points)[:, axis].numpy(), centred @ axes[axis] * sign, atol=1e-10)
        assert project.share[axis] == pytest.approx(values[axis] ** 2 / (values**2).sum())
    assert torch.equal(principal_projection(points).axes, project.axes)


def test_the_projection_of_equal_points_is_finite():
    project = principal_projection(torch.ones(4, 3))
    assert torch.isfinite(project(torch.ones(4, 3))).all() and project.share == (0.0, 0.0)


def test_the_size_of_a_region_is_the_angle_between_its_corners():
    lower = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    upper = torch.tensor([[0.0, 3.0], [5.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(region_angles(Regions(lower, upper)), torch.tensor([90.0, 0.0, 180.0]).double())


def test_the_nearest_rows_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(5)
    points, rows = (F.normalize(torch.randn(count, 6, generator=generator), dim=1) for count in (11, 9))
    expected = [max(range(9), key=lambda row: float(point @ rows[row])) for point in points]
    assert nearest_rows(points, rows, block=4).tolist() == expected


def test_samples_of_a_region_that_is_a_point_reach_one_row():
    embeddings = shifted_embeddings()
    corners = embeddings.train.embedding.clone()
    corners[3] = embeddings.test.embedding[17]
    found = example_of(made_up(Regions(corners, corners)), row=3, draws=5)
    assert [(near.row, near.share) for near in found.reached] == [(17, 100.0)]
    assert found.rows_reached == 1
    similarity = embeddings.test.embedding @ embeddings.train.embedding[3]
    assert found.nearest == int(similarity.argmax())


def test_samples_reach_rows_in_the_order_of_their_shares():
    embeddings = shifted_embeddings()
    lower = torch.full_like(embeddings.train.embedding, -1.0)
    found = example_of(made_up(Regions(lower, -lower)), row=0, draws=200, shown=4)
    shares = [near.share for near in found.reached]
    assert len(shares) == 4 < found.rows_reached
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    assert sum(shares) < 100


def test_reach_of_points_is_that_of_a_loop():
    run = made_up()
    train, test = run.embeddings.train, run.embeddings.test
    nearest = [int((test.embedding @ point).argmax()) for point in train.embedding]
    reach = reach_of(run)
    for number, name in enumerate(("photo", "painting", "sketch")):
        share = 100 * sum(int(test.domain[row]) == number for row in nearest) / len(nearest)
        assert reach.by_domain[name] == pytest.approx({"test": 100 / 3, "real": share, "sample": share})
    same = 100 * sum(int(test.label[row]) == int(label) for row, label in zip(nearest, train.label, strict=True)) / 40
    assert reach.same_class == pytest.approx({"real": same, "sample": same})
    assert reach.rows == 40


def test_reach_asks_a_spread_of_many_rows(monkeypatch):
    monkeypatch.setattr("lare_dassl.report.inside.look.MOST_REACHING_ROWS", 10)
    assert reach_of(made_up()).rows == 10


def test_classes_are_spread_where_none_is_wanted():
    names = [f"class {number}" for number in range(100)]
    assert chosen_classes(names) == [0, 20, 40, 60, 80]
    assert chosen_classes(names[:3]) == [0, 1, 2]
    assert chosen_classes(names, ["class 7", "class 2", "class 7"]) == [7, 2]
    with pytest.raises(InputError, match="unknown class 'clas 7': did you mean 'class 7'"):
        chosen_classes(names, ["clas 7"])
    with pytest.raises(InputError, match="names 9 classes: give at most 8"):
        chosen_classes(names, names[:9])


def test_rows_of_a_class_are_spread():
    rows = shifted_embeddings().test
    assert rows_of_class(rows, 2, most=100).tolist() == list(range(2, 60, 5))
    assert rows_of_class(rows, 2, most=3).tolist() == [2, 22, 42]
    assert rows_of_class(rows, 2, most=2, domain=1).tolist() == [22, 32]


def test_the_plane_holds_what_is_drawn_of_the_classes(monkeypatch):
    monkeypatch.setattr(figures, "TRAIN_ROWS", 6)
    monkeypatch.setattr(figures, "TEST_ROWS", 3)
    monkeypatch.setattr(figures, "DRAWN_REGIONS", 2)
    run, labels = made_up(), [1, 4]
    points = plane_points(run, labels)
    assert points.train_label.tolist() == [1] * 6 + [4] * 6
    assert points.test_domain.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [0] * 3 + [1] * 3 + [2] * 3
    # Regions that are points: corners and samples lie on their embeddings.
    torch.testing.assert_close(points.samples, points.train.repeat(3, 1), atol=1e-6, rtol=0)
    assert points.corner_label.tolist() == [1] * 2 + [4] * 2
    for corner in (points.lower, points.upper):
        torch.testing.assert_close(corner, points.train[[0, 3, 6, 9]], atol=1e-6, rtol=0)
    assert points.samples_label.tolist() == points.train_label.tolist() * 3


def test_the_figures_draw_all_points_and_regions():
    run, labels = made_up(), [0, 3]
    points = plane_points(run, labels)
    drawn = [len(part.get_offsets()) for part in embedding_figure(run, points, labels).axes[0].collections]
    assert drawn == [8, 8, 8, 16]
    drawn = [len(part.get_offsets()) for part in region_figure(run, points, labels).axes[0].collections]
    assert drawn == [24, 48, 12, 12, 16]
    panels = size_figure(run, labels).axes
    assert [sum(bar.get_height() for bar in panel.patches) for panel in panels] == [40, 8, 8]
    assert [panel.get_title(loc="left") for panel in panels] == ["all classes, n = 40", "cat, n = 8", "owl, n = 8"]


def test_names_in_legends_are_kept_short():
    assert short("a" * 20) == "a" * 20
    assert short("a" * 21) == "a" * 19 + "…"
    run, labels = made_up(), [0, 3]
    texts = [text.get_text() for text in embedding_figure(run, plane_points(run, labels), labels).legends[0].texts]
    assert texts[:2] == ["cat", "owl"]
    assert [text for text in texts[2:] if text.strip()] == [
        "test, photo (source)",
        "test, painting (target)",
        "test, sketch (target)",
        "trained on",
    ]


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
