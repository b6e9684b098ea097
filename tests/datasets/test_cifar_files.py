from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import resource
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from lare_dassl.datasets.cifar_files import check_class_names, read_rows
from lare_dassl.errors import InputError
from tests.datasets.cifar_writing import official_meta, official_rows, pixels, python2_pickle

SLICE = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-slice" / "cifar-100-python"


class Call:
    """Pickled, it asks its reader to call a function, and to give what that returns a state."""

    def __init__(self, function, *arguments, state=None):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


def write(path, content):
    path.write_bytes(content)
    return path


def test_rows_are_read_as_python_2_wrote_them(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = read_rows(write(tmp_path / "train", python2_pickle(official_rows([3, 99, 3]))))
    np.testing.assert_array_equal(rows.images, np.stack([pixels(row) for row in range(3)]))
    assert rows.images.dtype == np.uint8
    assert rows.labels == [3, 99, 3]
    assert rows.names == ["bear_s_000001.png", "worm_s_000001.png", "bear_s_000001.png"]


def of_numpy_1(content):
    """A small pickle of today's numpy as numpy 1 would have written it."""
    if content[2:3] == b"\x95":
        # Its frame would be of another length; it needs none.
        content = content[:2] + content[11:]
    old = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    return old.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_of_both_generations_of_numpy_are_read_in_all_protocols(tmp_path, protocol, order):
    content = official_rows([5, 7])
    content[b"data"] = np.asarray(content[b"data"], order=order)
    today = pickle.dumps(content, protocol)
    for written in (today, of_numpy_1(today)):
        rows = read_rows(write(tmp_path / "train", written))
        np.testing.assert_array_equal(rows.images, np.stack([pixels(0), pixels(1)]))
        assert rows.labels == [5, 7]
    assert {b"numpy._core" in today, b"numpy._core" in of_numpy_1(today)} == {np.__version__ >= "2", False}


def refusal(path, content, read=read_rows):
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as error:
        read(write(path, content))
    line = str(error.value)
    assert line.endswith("`python tools/prepare_data.py cifar100 --root DATA` says what is missing and where to get it")
    assert str(path) in line and "\n" not in line
    return line


def test_the_class_names_of_meta_are_checked(tmp_path):
    meta = official_meta()
    check_class_names(write(tmp_path / "meta", python2_pickle(meta)))
    meta[b"fine_label_names"].reverse()
    for content in (meta, {}, [1]):
        line = refusal(tmp_path / "meta", python2_pickle(content), check_class_names)
        assert "whose 'fine_label_names' are its 100 classes" in line


@pytest.mark.parametrize("nested", [lambda evil: evil, lambda evil: {"data": [({}, evil)]}], ids=["alone", "nested"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, getattr, np.load, np.fromfile])
def test_a_pickle_that_asks_for_anything_but_arrays_is_refused_and_not_run(tmp_path, function, protocol, nested):
    asked = f"touch {tmp_path}/run" if function is os.system else f"open('{tmp_path}/run', 'w')"
    line = refusal(tmp_path / "train", pickle.dumps(nested(Call(function, asked)), protocol))
    assert re.search(rf"it asks for '\S*{function.__name__}', which no official file does; nothing of it was run", line)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("opcodes", "name"),
    [
        # Protocol 4 reaches into objects by dots, and copyreg makes objects of any class.
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
        (b"\x80\x02ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
        (b"\x80\x02c_codecs\nlookup\n.", "_codecs.lookup"),
        (b"\x80\x02cnumpy.core.multiarray\nfrombuffer\n.", "numpy.core.multiarray.frombuffer"),
        (b"\x80\x04\x8c\x03o\ns\x8c\x06system\x93.", r"o\ns.system"),
        # A name that is allowed elsewhere.
        (b"\x80\x02cos\nndarray\n.", "os.ndarray"),
    ],
)
def test_other_ways_to_a_function_are_refused(tmp_path, opcodes, name):
    assert f" asks for '{name}', which" in refusal(tmp_path / "train", opcodes)


def read_or_refuse(file):
    try:
        read_rows(file)
    except InputError:
        return


@pytest.mark.parametrize("code", ["V8", "u1"])
def test_a_forged_type_gives_no_array_of_addresses(tmp_path, code):
    *_, state = np.dtype([("f", "O")]).__reduce__()
    # The last word, the flags: objects, which are freed with the array, but are not written as a list.
    kind = Call(np.dtype, code, False, True, state=(*state[:-1], 1))
    addresses = struct.pack("<4Q", *[0x4141414141414141] * 4)
    array = Call(np.empty(0).__reduce__()[0], np.ndarray, (0,), b"b", state=(1, (4,), kind, False, addresses))
    content = pickle.dumps(official_rows([1]) | {b"data": array}, 4)
    # Freed, such an array would end the process.
    file = write(tmp_path / "train", content)
    process = multiprocessing.get_context("fork").Process(target=read_or_refuse, args=(file,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert re.search(r"\(ValueError: an array of '(V8|O8)', not of bytes\)", refusal(tmp_path / "train", content))


def test_what_else_a_pickle_says_of_the_type_is_ignored(tmp_path):
    written = python2_pickle(official_rows([1]))
    forged = written.replace(b"J\xff\xff\xff\xffK\x00tb", b"J\x08\x00\x00\x00K\x3ftb", 1)
    assert forged != written
    np.testing.assert_array_equal(read_rows(write(tmp_path / "train", forged)).images[0], pixels(0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        python2_pickle(official_rows([1, 2]))[:3000],
        # An array whose bytes do not fill it, and 100,000 lists in each other.
        python2_pickle(official_rows([1, 2])).replace(b"J\x00\x0c\x00\x00", b"J\x01\x0c\x00\x00"),
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"N",
        pickle.dumps(official_rows([1]) | {b"data": np.zeros((1, 3072), np.float32)}, protocol=3),
    ],
    ids=["empty", "no pickle", "truncated", "short", "nested", "numbers"],
)
def test_damaged_files_are_told_in_one_line(tmp_path, content):
    assert refusal(tmp_path / "train", content).startswith(f"cannot read '{tmp_path / 'train'}' (")


@pytest.mark.parametrize(
    "content",
    [
        # A place for 2 billion values, a string of 2 GB, an array of 10 TB.
        b"\x80\x02}r\xff\xff\xff\x7f.",
        b"\x80\x02}p2000000000\n.",
        b"\x80\x02T\xff\xff\xff\x7fabc.",
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00abc.",
        b"\x80\x02cnumpy\nndarray\n(\x8a\x06\x00\x00\x00\x00\x00\x0a\x85tR.",
    ],
)
def test_a_file_of_some_bytes_gets_no_gigabytes_of_memory(tmp_path, content):
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(tmp_path / "train", content)
    # In kilobytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 100_000


@pytest.mark.parametrize(
    "content",
    [
        *([1, 2], 7, b"text"),
        *({b"data": value} for value in (None, b"bytes", np.zeros((2, 3071), np.uint8), np.zeros(2, np.uint8))),
        {b"data": np.zeros((1, 3072), np.uint8)},
        *({b"fine_labels": labels} for labels in ([1, 100], [1, -1], [1, b"2"], 3)),
        *({b"filenames": names} for names in ([1, 2], [b"a.png"])),
    ],
    ids=repr,
)
def test_files_that_hold_something_else_are_refused(tmp_path, content):
    if isinstance(content, dict):
        whole = official_rows([1, 2]) | content
        content = {key: value for key, value in whole.items() if value is not None}
    assert "train' is no file of CIFAR-100, which has" in refusal(tmp_path / "train", python2_pickle(content))


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data/cifar-100-slice")
def test_real_rows():
    rows = read_rows(SLICE / "test")
    check_class_names(SLICE / "meta")
    assert rows.images.shape == (1_000, 32, 32, 3)
    assert sorted(set(rows.labels)) == list(range(100))
