from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from lare_dassl.datasets.cifar_files import check_class_names, read_rows
from lare_dassl.errors import InputError
from tests.datasets.cifar_writing import official_meta, official_rows, pixels, python2_pickle

SLICE = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-slice" / "cifar-100-python"


class Call:
    """Pickled, it asks its reader to call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

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


def test_arrays_of_todays_numpy_are_read_too(tmp_path):
    asked = pickle.dumps(official_rows([5])[b"data"], protocol=3)
    assert b"numpy._core.multiarray" in asked or np.__version__ < "2"
    rows = read_rows(write(tmp_path / "train", pickle.dumps(official_rows([5]), protocol=3)))
    np.testing.assert_array_equal(rows.images[0], pixels(0))


def test_the_class_names_of_meta_are_checked(tmp_path):
    meta = official_meta()
    check_class_names(write(tmp_path / "meta", python2_pickle(meta)))
    meta[b"fine_label_names"].reverse()
    with pytest.raises(
        InputError, match=r"meta' is no official file of CIFAR-100, 'fine_label_names' is not the list of"
    ):
        check_class_names(write(tmp_path / "meta", python2_pickle(meta)))
    with pytest.raises(InputError, match=r"it has no 'fine_label_names': `python tools/prepare_data.py cifar100"):
        check_class_names(write(tmp_path / "meta", python2_pickle({})))


@pytest.mark.parametrize("nested", [lambda evil: evil, lambda evil: {"data": [({}, evil)]}], ids=["alone", "nested"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "numpy.fromfile"])
def test_a_pickle_that_asks_for_anything_but_arrays_is_refused_and_not_run(tmp_path, name, protocol, nested):
    import builtins
    import os

    module, _, function = name.partition(".")
    scope = {"os": os, "builtins": builtins, "numpy": np}[module]
    evil = Call(
        getattr(scope, function), f"touch {tmp_path}/run" if function == "system" else f"open('{tmp_path}/run', 'w')"
    )
    content = pickle.dumps(nested(evil), protocol)
    with pytest.raises(InputError) as error:
        read_rows(write(tmp_path / "train", content))
    assert str(error.value).startswith(f"'{tmp_path / 'train'}' asks for '")
    assert f"{function}', which the official files of CIFAR-100 do not; nothing of it was run" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("opcodes", "name"),
    [
        # Protocol 4 reaches into objects by dots, and copyreg makes objects of any class.
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
        (b"\x80\x02ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
        (pickle.dumps(b"bytes", protocol=2), "_codecs.encode"),
        (b"\x80\x02cnumpy.core.multiarray\nfrombuffer\n.", "numpy.core.multiarray.frombuffer"),
        (b"\x80\x04\x8c\x03o\ns\x8c\x06system\x93.", "o\\ns.system"),
        # A name that is allowed elsewhere.
        (b"\x80\x02cos\nndarray\n.", "os.ndarray"),
    ],
)
def test_other_ways_to_a_function_are_refused(tmp_path, opcodes, name):
    with pytest.raises(InputError) as error:
        read_rows(write(tmp_path / "train", opcodes))
    assert f" asks for '{name}', which" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        python2_pickle(official_rows([1, 2]))[:3000],
        # An array of 10 TB, one whose bytes do not fill it, and 100,000 lists in each other.
        b"\x80\x02cnumpy\nndarray\n(\x8a\x06\x00\x00\x00\x00\x00\x0a\x85tR.",
        python2_pickle(official_rows([1, 2])).replace(b"J\x00\x0c\x00\x00", b"J\x01\x0c\x00\x00"),
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"N",
    ],
    ids=["empty", "no pickle", "truncated", "huge", "short", "nested"],
)
def test_damaged_files_are_told_in_one_line(tmp_path, content):
    with pytest.raises(InputError) as error:
        read_rows(write(tmp_path / "train", content))
    assert str(error.value).startswith(f"cannot read '{tmp_path / 'train'}' (")
    assert str(error.value).endswith("says what is missing and where to get it")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read '.*/train' \(FileNotFoundError: .*prepare_data.py cifar100"):
        read_rows(tmp_path / "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({b"data": None}, "it has no 'data'"),
        ({b"data": b"bytes"}, r"'data' is no array of bytes \(N, 3,072\)"),
        ({b"data": np.zeros((2, 3071), np.uint8)}, r"'data' is no array of bytes"),
        ({b"data": np.zeros(2, np.uint8)}, r"'data' is no array of bytes"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "it has 1 images, 2 labels and 2 names"),
        ({b"fine_labels": [1, 100]}, "'fine_labels' is no list of labels from 0 to 99"),
        ({b"fine_labels": [1, -1]}, "'fine_labels' is no list of labels"),
        ({b"fine_labels": [1, b"2"]}, "'fine_labels' is no list of labels"),
        ({b"fine_labels": 3}, "'fine_labels' is no list of labels"),
        ({b"filenames": [1, 2]}, "'filenames' is no list of names"),
        ({b"filenames": [b"a.png"]}, "it has 2 images, 2 labels and 1 names"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path, changes, message):
    content = {key: value for key, value in (official_rows([1, 2]) | changes).items() if value is not None}
    with pytest.raises(InputError, match=rf"train' is no official file of CIFAR-100, {message}.*: `python tools/"):
        read_rows(write(tmp_path / "train", python2_pickle(content)))


@pytest.mark.parametrize("content", [[1, 2], 7, b"text"])
def test_a_pickle_that_is_no_dictionary_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="is no official file of CIFAR-100, it has no 'data'"):
        read_rows(write(tmp_path / "train", python2_pickle(content)))


def test_an_array_of_other_numbers_is_refused(tmp_path):
    content = official_rows([1]) | {b"data": np.zeros((1, 3072), np.float32)}
    with pytest.raises(InputError, match="'data' is no array of bytes"):
        read_rows(write(tmp_path / "train", pickle.dumps(content, protocol=3)))


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data/cifar-100-slice")
def test_real_rows():
    rows = read_rows(SLICE / "test")
    check_class_names(SLICE / "meta")
    assert rows.images.shape == (1_000, 32, 32, 3)
    assert sorted(set(rows.labels)) == list(range(100))
