from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image

from lare_dassl import vlm
from lare_dassl.embeddings.encoder.decoding import decode_image, decoded_batches
from lare_dassl.embeddings.encoder.decoding_processes import PROCESSES_FROM, decoded_by_processes, processes_pay
from lare_dassl.embeddings.encoder.encoder import Encoder
from tests.embeddings.encoder.conftest import CPU
from tests.embeddings.encoder.odd_resize import BROKEN, DEADLY, ENDLESS, OddResize
from tests.helpers import write_image

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux, to wait for the end of processes")
# A user's script without a guard for __main__; it encodes all images but one, which never comes.
SCRIPT = """
import dataclasses, logging, sys
from pathlib import Path
import torch
from lare_dassl import vlm
from lare_dassl.embeddings.encoder import encoder as encoding
from lare_dassl.errors import exit_code
from tests.embeddings.encoder.conftest import CPU
from tests.embeddings.encoder.odd_resize import OddResize

print("script", flush=True)
logging.disable(logging.WARNING)
encoding.processes_pay, encoding.usable_cores = lambda *_: True, lambda: 2
source = vlm.resolve(sys.argv[1], "", allow_random=True)
encoder = encoding.Encoder(source, "fp32", torch.device("cpu"), Path(sys.argv[2]), batch_size=8)
encode = encoder.model.encode_images

class Counting:
    parts = dataclasses.replace(encoder.model.parts, resize=OddResize(encoder.model.parts.resize))

    def encode_images(self, pixels):
        print(len(pixels), flush=True)
        return encode(pixels)

encoder.model = Counting()
sys.exit(exit_code(lambda: encoder.encode_images(sorted(Path(sys.argv[3]).glob("*.png")))))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def images(place):
    """24 images, beside one that never comes."""
    Image.new("RGB", ENDLESS).save(write_image(place / "images" / "endless.png", seed=99))
    return [write_image(place / "images" / f"{number:02}.png", seed=number) for number in range(24)]


@pytest.fixture(scope="module")
def resize(source):
    return OddResize(vlm.load(source, "fp32", CPU).parts.resize)


@pytest.fixture(scope="module", autouse=True)
def scripts(place, source, images):
    """Two scripts that encode images; they begin before any other test, since each takes seconds to start."""
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    (place / "script.py").write_text(SCRIPT)
    begun = {}
    for name in ("killed", "interrupted"):
        (place / name).mkdir()
        command = [sys.executable, place / "script.py", source.model, place / name, images[0].parent]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # Tests that run in the background of a shell ignore Ctrl-C, and so would every process that they start.
        hearing = {"preexec_fn": partial(signal.signal, signal.SIGINT, signal.SIG_DFL)}
        begun[name] = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes, **hearing)
    yield begun
    for script in begun.values():
        script.kill()
        script.communicate()


def gathered(batches):
    """Pixels and causes, by place, of batches of five images at most."""
    pixels, causes = {}, {}
    for batch in batches:
        assert len(batch.places) + len(batch.unreadable) <= 5
        pixels |= dict(zip(batch.places, batch.pixels, strict=True))
        causes |= dict(batch.unreadable)
    return pixels, causes


def by_processes(paths, resize, processes=2):
    return decoded_by_processes(paths, resize, range(len(paths)), 5, processes=processes, ahead=4)


def assert_as_by_threads(batches, paths, resize):
    """Gives the causes."""
    pixels, causes = gathered(batches)
    decode = lambda number: decode_image(paths[number], resize)  # noqa: E731
    expected, expected_causes = gathered(decoded_batches(decode, range(len(paths)), 5, threads=1, ahead=4))
    assert causes == expected_causes
    assert sorted(pixels) == sorted(expected)
    assert all(torch.equal(pixels[number], expected[number]) for number in expected)
    return causes


@pytest.mark.parametrize(
    ("device", "count", "pay"), [("cuda", PROCESSES_FROM, True), ("cuda", PROCESSES_FROM - 1, False), ("cpu", 10**6, 0)]
)
def test_processes_are_for_many_images_on_a_gpu(device, count, pay):
    assert processes_pay(torch.device(device), count) == pay


def test_images_and_causes_are_those_of_threads(images, resize, tmp_path, caplog):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(images[3].read_bytes()[:200])
    bad = [tmp_path / name for name in ("empty.png", "half.png", "none.png")]
    paths = [*images[:10], *bad, *images[10:]]
    one, two = (list(by_processes(paths, resize, processes)) for processes in (1, 2))
    causes = assert_as_by_threads(two, paths, resize)
    assert causes.keys() == {10, 11, 12}
    assert causes[10] == "cannot identify image file"
    assert [batch.places for batch in one] == [batch.places for batch in two]
    assert caplog.messages == []


@pytest.mark.filterwarnings("ignore:Got pickle error")
@pytest.mark.parametrize("failure", [(DEADLY, "DataLoader worker"), (BROKEN, "broken in a worker"), (None, "pickle")])
def test_threads_go_on_where_a_worker_fails_or_cannot_start(images, resize, tmp_path, caplog, failure):
    size, cause = failure
    Image.new("RGB", size or (9, 9)).save(tmp_path / "odd.png")
    paths = [*images[:9], tmp_path / "odd.png", *images[9:]]

    def not_to_be_pickled(image):
        return resize(image)

    batches = by_processes(paths, resize if size else not_to_be_pickled)
    assert assert_as_by_threads(batches, paths, resize) == {}
    (message,) = caplog.messages
    assert message.startswith("processes that decode have failed (") and cause in message and "\n" not in message
    assert message.endswith("): decoding the remaining images in threads")


def test_workers_end_when_no_more_images_are_wanted(images, resize):
    with closing(by_processes(images * 9, resize)) as batches:
        assert len(next(batches).places) == 5
        workers = multiprocessing.active_children()
        assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)


def descendants(pid):
    """The processes that a process has started, and those that these have started."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *chain.from_iterable(map(descendants, found))]


def all_but_one_encoded(script):
    """Wait until a script has encoded what it can; gives handles of its processes."""
    assert script.stdout.readline() == "script\n"
    encoded = 0
    while encoded < 24:
        encoded += int(script.stdout.readline())
    processes = descendants(script.pid)
    # The forkserver, its tracker of resources and two workers.
    assert len(processes) == 4
    return [os.pidfd_open(process) for process in processes]


def end_soon(handles):
    return all(select.select([handle], [], [], 60)[0] for handle in handles)


def test_no_process_outlives_a_script_that_is_killed(scripts):
    handles = all_but_one_encoded(scripts["killed"])
    scripts["killed"].kill()
    assert end_soon(handles)


def test_an_interruption_is_one_line_and_keeps_what_is_encoded(scripts, source, place, images):
    script = scripts["interrupted"]
    handles = all_but_one_encoded(script)
    # As Ctrl-C does, to all processes of the script's group.
    os.killpg(script.pid, signal.SIGINT)
    assert script.communicate(timeout=60)[1] == "interrupted: the same command goes on from what is done\n"
    assert script.returncode == 130
    assert end_soon(handles)
    kept, report = Encoder(source, "fp32", CPU, place / "interrupted").encode_images(images)
    assert (len(kept), report.decoded) == (24, 0)
