from __future__ import annotations

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
    assert world.sizes() == {"train": 3 * 16, "val": 3 * 4, "test": 6 * 3 * 10}
    assert list(world.domain_names) == list(STYLES)
    assert list(world.classnames) == list(SCENES)
    assert {item.domain for item in world.train + world.val} == {0}
    assert {item.domain for item in world.test} == set(range(6))
    assert world.root == tmp_path / "demo_world"
    assert path_names(world.test, world.root)[0] == "photo/test/red_star/000.png"


def test_images_lie_where_the_readme_says_and_hold_the_rendering(tmp_path):
    make_world(tmp_path, DATASET__SOURCE_DOMAINS=["neon"], DATASET__TARGET_DOMAINS=["pixel"])
    path = tmp_path / "demo_world" / "neon" / "val" / "blue_ring" / "002.png"
    rng = np.random.default_rng([demo_world.RENDERING_SEED, 4, 1, 4 + 2])
    np.testing.assert_array_equal(np.asarray(Image.open(path)), render("ring", "blue", "neon", rng))
    found = {tuple(name.split("/")[1:3]) for name in files(tmp_path)}
    assert found == {("neon", "train"), ("neon", "val"), ("neon", "test"), ("pixel", "test")}


def test_a_second_start_renders_nothing_and_a_second_rendering_the_same(tmp_path, renderings):
    for _ in range(2):
        make_world(tmp_path / "a")
        assert len(renderings) == 3 * (16 + 4 + 6 * 10)
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


def test_other_processes_may_render_at_the_same_time(tmp_path, monkeypatch):
    """The quicker one wins, and the other takes what it finds."""
    part, started = Part("photo", "train"), []

    def render_and_be_overtaken(*args):
        if not started:
            started.append(part)
            demo_world.render_missing(tmp_path, [part])
            started.append((tmp_path / "photo" / "train" / demo_world.MARKER).stat().st_ino)
        return render(*args)

    monkeypatch.setattr(demo_world, "render", render_and_be_overtaken)
    demo_world.render_missing(tmp_path, [part])
    assert is_complete(tmp_path, part)
    assert (tmp_path / "photo" / "train" / demo_world.MARKER).stat().st_ino == started[1]
    assert [path.name for path in (tmp_path / "photo").iterdir()] == ["train"]


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
        ({"DATASET__ROOT": "file"}, r"cannot write to .*file/demo_world"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, monkeypatch, keys, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        open_dataset(make_cfg(**{"DATASET__NAME": "DemoWorld", "DATASET__ROOT": tmp_path} | keys))
