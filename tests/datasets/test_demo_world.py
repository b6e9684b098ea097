from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from lare_dassl.datasets import demo_world
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.split_file import path_names
from lare_dassl.datasets.demo_world import Part, is_complete
from lare_dassl.demo.rendering import STYLES, render
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

SCENES = {"red star": ("star", "red"), "blue ring": ("ring", "blue"), "green oval": ("oval", "green")}


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """Three classes instead of 120, so that rendering takes no time."""
    monkeypatch.setattr(demo_world, "SCENES", SCENES)


@pytest.fixture
def renderings(monkeypatch):
    """Counts the images drawn."""
    drawn = []

    def counted(*args):
        drawn.append(args[:3])
        return render(*args)

    monkeypatch.setattr(demo_world, "render", counted)
    return drawn


def make_world(root, **keys):
    return open_dataset(make_cfg(DATASET__NAME="DemoWorld", DATASET__ROOT=root, **keys))


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")}


def test_lists_hold_the_promised_images(tmp_path):
    world = make_world(tmp_path)
    assert (len(world.train), len(world.val), len(world.test)) == (3 * 16, 3 * 4, 6 * 3 * 10)
    assert list(world.domain_names) == list(STYLES)
    assert list(world.classnames) == list(SCENES)
    assert {item.domain for item in world.train + world.val} == {0}
    assert {item.domain for item in world.test} == set(range(6))


def test_images_lie_where_the_readme_says_and_hold_the_rendering(tmp_path):
    make_world(tmp_path, DATASET__SOURCE_DOMAINS=["neon"], DATASET__TARGET_DOMAINS=["pixel"])
    path = tmp_path / "demo_world" / "neon" / "val" / "blue_ring" / "002.png"
    rng = np.random.default_rng([demo_world.RENDERING_SEED, 4, 1, 4 + 2])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), render("ring", "blue", "neon", rng))
    found = {tuple(name.split("/")[1:3]) for name in files(tmp_path)}
    assert found == {("neon", "train"), ("neon", "val"), ("neon", "test"), ("pixel", "test")}


def test_a_second_start_renders_nothing(tmp_path, renderings):
    make_world(tmp_path)
    assert len(renderings) == 3 * (16 + 4 + 6 * 10)
    make_world(tmp_path)
    assert len(renderings) == 3 * (16 + 4 + 6 * 10)


def test_two_renderings_are_equal(tmp_path):
    make_world(tmp_path / "a")
    make_world(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_killed_rendering_leaves_nothing_that_counts_and_is_done_again(tmp_path, monkeypatch):
    calls = []

    def killed(*args):
        calls.append(args)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return render(*args)

    monkeypatch.setattr(demo_world, "render", killed)
    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path)
    assert not files(tmp_path)
    monkeypatch.setattr(demo_world, "render", render)
    assert len(make_world(tmp_path).test) == 180


def test_what_another_version_rendered_is_replaced(tmp_path, renderings):
    make_world(tmp_path)
    part = Part("neon", "test")
    marker = part.folder(tmp_path / "demo_world") / demo_world.MARKER
    marker.write_text("demo world 0")
    renderings.clear()
    make_world(tmp_path)
    assert [scene[2] for scene in renderings] == ["neon"] * 30
    assert is_complete(tmp_path / "demo_world", part)


def test_another_process_may_be_quicker(tmp_path, monkeypatch):
    make_world(tmp_path / "theirs")
    theirs, ours = tmp_path / "theirs" / "demo_world", tmp_path / "ours" / "demo_world"
    part = Part("photo", "train")

    def render_while_they_finish(folder, *args):
        shutil.copytree(part.folder(theirs), part.folder(ours))
        original(folder, *args)

    original = demo_world._render_images
    monkeypatch.setattr(demo_world, "_render_images", render_while_they_finish)
    demo_world.render_missing(ours, [part])
    assert files(part.folder(ours)) == files(part.folder(theirs))
    assert [path.name for path in (ours / "photo").iterdir()] == ["train"]


def test_a_process_of_the_same_number_on_another_machine_may_render_too(tmp_path, monkeypatch):
    part, rendering = Part("photo", "train"), []

    def render_while_they_render(folder, *args):
        rendering.append(folder)
        if len(rendering) == 1:
            demo_world.render_missing(tmp_path, [part])
        original(folder, *args)

    original = demo_world._render_images
    monkeypatch.setattr(demo_world, "_render_images", render_while_they_render)
    demo_world.render_missing(tmp_path, [part])
    assert len(set(rendering)) == 2
    assert is_complete(tmp_path, part)
    assert [path.name for path in (tmp_path / "photo").iterdir()] == ["train"]


def test_the_root_is_the_folder_of_the_demo_world(tmp_path):
    world = make_world(tmp_path)
    assert world.root == tmp_path / "demo_world"
    assert path_names(world.test, world.root)[0] == "photo/test/red_star/000.png"


def test_few_shots_are_drawn_from_the_training_images(tmp_path):
    world = make_world(tmp_path, DATASET__NUM_SHOTS=2)
    assert [world.classnames[item.label] for item in world.train] == [name for name in SCENES for _ in range(2)]
    everything = make_world(tmp_path)
    assert {item.path for item in world.train} < {item.path for item in everything.train}
    assert len(world.val) == len(everything.val)


def test_sources_alone_are_tested_in_domain_alone(tmp_path):
    world = make_world(tmp_path, DATASET__SOURCE_DOMAINS=["sketch", "neon"])
    assert {item.domain for item in world.test} == {2, 4}
    assert len(world.train) == 2 * 3 * 16


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"DATASET__SOURCE_DOMAINS": ["foto"]}, "did you mean 'photo'"),
        ({"DATASET__SOURCE_DOMAINS": ["neon"], "DATASET__TARGET_DOMAINS": ["neon"]}, "both source and target"),
        ({"DATASET__NUM_SHOTS": 17}, "'red star' has 16 training images"),
        ({"DATASET__ROOT": ""}, "DATASET.ROOT is empty"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, keys, message):
    with pytest.raises(InputError, match=message):
        make_world(keys.pop("DATASET__ROOT", tmp_path), **keys)


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*file/demo_world"):
        make_world(tmp_path / "file")
