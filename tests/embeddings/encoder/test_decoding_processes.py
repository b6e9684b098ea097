from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.embeddings.encoder import decoding_processes
from lare_dassl.embeddings.encoder.decoding import decode_image, decoded_batches
from lare_dassl.embeddings.encoder.decoding_processes import (
    PROCESSES_FROM,
    Workers,
    decoded_by_processes,
    processes_pay,
)
from lare_dassl.embeddings.encoder.encoder import Encoder
from tests.embeddings.encoder.odd_resize import DEADLY, ENDLESS, OddResize
from tests.helpers import write_image, write_tiny_model

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs a system that can share memory so")

CPU = torch.device("cpu")
# A user's script, which does not ask for __main__; it encodes all images but one, which never comes.
SCRIPT = """
import dataclasses, logging, sys
from pathlib import Path
import torch
from lare_dassl import vlm
from lare_dassl.embeddings.encoder import decoding_processes, encoder as extract
from lare_dassl.errors import exit_code
from tests.embeddings.encoder.odd_resize import OddResize

logging.disable(logging.WARNING)
extract.processes_pay, extract.usable_cores = lambda *_: True, lambda: 2
decoding_processes._taken = lambda *_: iter(())
keep = extract._Keeper.keep

def told(self, batch, embedding):
    keep(self, batch, embedding)
    print(len(batch.places), flush=True)

extract._Keeper.keep = told
source = vlm.resolve(sys.argv[1], "", allow_random=True)
encoder = extract.Encoder(source, "fp32", torch.device("cpu"), Path(sys.argv[2]), batch_size=8)
parts = encoder.model.parts
vars(encoder.model)["parts"] = dataclasses.replace(parts, resize=OddResize(parts.resize))
sys.exit(exit_code(lambda: encoder.encode_images(sorted(Path(sys.argv[3]).glob("*.png")))))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def source(place):
    return vlm.resolve(write_tiny_model(place / "model"), "", allow_random=True)


@pytest.fixture(scope="module")
def images(place):
    """24 images, beside one that never comes."""
    Image.new("RGB", ENDLESS).save(write_image(place / "images" / "endless.png", seed=99))
    return [write_image(place / "images" / f"{number:02}.png", seed=number) for number in range(24)]


@pytest.fixture(scope="module", autouse=True)
def scripts(place, source, images):
    """Two scripts that encode images; all programs of these tests begin side by side, since each takes seconds."""
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    begun = {}
    for name in ("killed", "interrupted"):
        (place / name).mkdir()
        command = [sys.executable, "-c", SCRIPT, source.model, place / name, images[0].parent]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # Tests that run in the background of a shell ignore Ctrl-C, and so would every process that they start.
        hearing = {"preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL)}
        begun[name] = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes, **hearing)
    yield begun
    for script in begun.values():
        script.kill()
        script.communicate()


@pytest.fixture(scope="module")
def resize(source):
    return OddResize(vlm.load(source, "fp32", CPU).parts.resize)


@pytest.fixture(scope="module")
def workers(resize, scripts):
    with closing(Workers(resize, 4)) as started:
        yield started


@pytest.fixture
def shared(workers, monkeypatch):
    """The workers that there are stand in for new ones; they are ready after so many images in threads."""

    class Shared:
        decode = workers.decode
        not_yet = iter([])

        def ready(self):
            return next(self.not_yet, True)

        def close(self):
            pass

    one = Shared()
    monkeypatch.setattr(decoding_processes, "Workers", lambda *_: one)
    return one


def gathered(batches):
    """Pixels and causes, by place."""
    pixels, causes = {}, {}
    for batch in batches:
        assert len(batch.places) + len(batch.unreadable) <= 5
        pixels |= dict(zip(batch.places, batch.pixels, strict=True))
        causes |= dict(batch.unreadable)
    return pixels, causes


def by_processes(paths, resize):
    return gathered(decoded_by_processes(paths, resize, range(len(paths)), 5, processes=3, ahead=4))


def assert_as_by_threads(paths, resize):
    """Gives the causes."""
    pixels, causes = by_processes(paths, resize)
    decode = lambda number: decode_image(paths[number], resize)  # noqa: E731
    expected, expected_causes = gathered(decoded_batches(decode, range(len(paths)), 5, threads=1, ahead=4))
    assert causes == expected_causes
    assert sorted(pixels) == sorted(expected)
    assert all(torch.equal(pixels[number], expected[number]) for number in expected)
    return causes


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def all_end(pids):
    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


def test_processes_are_for_many_images_on_a_gpu():
    assert processes_pay(torch.device("cuda"), PROCESSES_FROM)
    assert not processes_pay(torch.device("cuda"), PROCESSES_FROM - 1)
    assert not processes_pay(CPU, 10**6)


def test_no_processes_where_they_cannot_be_started(images, source, caplog):
    plain = vlm.load(source, "fp32", CPU).parts.resize

    def not_to_be_pickled(image):
        return plain(image)

    assert assert_as_by_threads(images[:3], not_to_be_pickled) == {}
    assert "processes that decode cannot be started" in caplog.text


def test_threads_go_on_where_the_server_fails(images, resize, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(decoding_processes, "_taken", lambda *_: iter(()))
    assert assert_as_by_threads(images[:3], resize) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "no process that decodes is left: decoding in threads"
    ]


def test_pixels_are_those_of_threads_to_the_bit(shared, images, resize):
    assert assert_as_by_threads(images, resize) == {}


def test_threads_decode_until_the_processes_are_there(shared, images, resize, monkeypatch):
    here = []

    def decode(path, preprocess):
        here.append(path)
        return decode_image(path, preprocess)

    monkeypatch.setattr(decoding_processes, "decode_image", decode)
    shared.not_yet = iter([False] * 6)
    assert assert_as_by_threads(images, resize) == {}
    assert sorted(here) == images[:6]


def test_bad_images_are_told_as_by_threads(shared, images, resize, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(images[3].read_bytes()[:200])
    bad = [tmp_path / name for name in ("empty.png", "half.png", "none.png")]
    causes = assert_as_by_threads([*images[:10], *bad, *images[10:]], resize)
    assert causes.keys() == {10, 11, 12}
    assert causes[10] == "cannot identify image file"


def test_what_a_worker_cannot_do_is_tried_here(shared, images, resize, monkeypatch):
    monkeypatch.setattr(decoding_processes, "decode_image", lambda path, _: torch.full((2, 2, 3), len(path.name)))
    pixels, causes = by_processes([images[0].parent / "none"], resize)
    assert causes == {} and torch.equal(pixels[0], torch.full((2, 2, 3), 4))


def test_an_image_at_which_processes_die_is_given_up_and_all_others_come(shared, images, resize, tmp_path, caplog):
    Image.new("RGB", DEADLY).save(tmp_path / "deadly.png")
    pixels, causes = by_processes([*images[:9], tmp_path / "deadly.png", *images[9:]], resize)
    assert causes == {9: "2 processes died while decoding it: damaged, or too large for the memory?"}
    assert sorted(pixels) == [number for number in range(25) if number != 9]
    told = [record.getMessage() for record in caplog.records]
    assert all(line.startswith("a process that decodes died (killed, or out of memory?): ") for line in told)
    # At first it shares its task with others, where one is reported before it or not.
    assert 2 <= len(told) <= 3
    assert all(f"images are decoded again, {tmp_path / 'deadly.png'} first" in line for line in told[-2:])


def test_threads_go_on_when_all_processes_have_been_killed(shared, workers, images, resize, caplog):
    left = children(workers._server.pid)
    assert len(left) in (1, 2)
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert assert_as_by_threads(images, resize) == {}
    assert caplog.records[-1].getMessage() == "no process that decodes is left: decoding in threads"


def all_but_one_kept(script):
    """Wait until a script has encoded what it can; gives its processes."""
    kept = 0
    while kept < 24:
        kept += int(script.stdout.readline())
    (server,) = children(script.pid)
    assert len(children(server)) == 2
    return [server, *children(server)]


def test_no_process_outlives_a_script_that_is_killed(scripts):
    processes = all_but_one_kept(scripts["killed"])
    scripts["killed"].kill()
    assert all_end(processes)


def test_an_interruption_ends_all_in_one_line_and_what_is_encoded_is_kept(scripts, source, place, images):
    script = scripts["interrupted"]
    processes = all_but_one_kept(script)
    # As Ctrl-C does, to all processes of the script's group.
    os.killpg(script.pid, signal.SIGINT)
    assert script.communicate(timeout=60)[1] == "interrupted: the same command goes on from what is done\n"
    assert script.returncode == 130
    assert all_end(processes)
    kept, report = Encoder(source, "fp32", CPU, place / "interrupted").encode_images(images)
    assert (len(kept), report.decoded) == (24, 0)
