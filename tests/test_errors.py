from __future__ import annotations

import errno
import os
import re
from unittest import mock

import pytest

from lare_dassl.errors import InputError, exit_code, unknown_name, unwritable


@pytest.mark.parametrize(
    ("name", "nearest"), [("lare", "LARE"), ("Finetune", "FineTune"), ("zero-shot", "ZeroShot"), ("LAREE", "LARE")]
)
def test_an_unknown_name_is_told_with_the_nearest(name, nearest):
    message = str(unknown_name("trainer", name, ["ZeroShot", "LARE", "FineTune"]))
    assert message == f"unknown trainer '{name}': did you mean '{nearest}'? known: FineTune, LARE, ZeroShot"


def test_a_name_like_no_other_gets_no_guess():
    assert str(unknown_name("trainer", "xyz", ["LARE", "FineTune"])) == "unknown trainer 'xyz': known: FineTune, LARE"


def test_long_lists_are_cut():
    names = [f"model{number:03d}" for number in range(60)]
    message = str(unknown_name("model", "model059x", iter(names)))
    assert "did you mean 'model059'?" in message
    assert message.endswith("model011, ...")
    assert str(unknown_name("model", "", iter(names))).endswith("model039, ...")


def test_a_command_that_succeeds_gives_0(capsys):
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr().err == ""


def disk_error(number):
    return OSError(number, os.strerror(number), "/data/a.json")


FULL = "make room there and run again, what is done is kept"
FORBIDDEN = "see to it that you may write there and run again, or give another folder"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no config file x.yaml"), 2, "error: no config file x.yaml"),
        (KeyboardInterrupt(), 130, "interrupted: the same command goes on from what is done"),
        (disk_error(errno.ENOSPC), 2, f"error: cannot use /data/a.json: {os.strerror(errno.ENOSPC)}: {FULL}"),
        (disk_error(errno.EDQUOT), 2, f"error: cannot use /data/a.json: {os.strerror(errno.EDQUOT)}: {FULL}"),
        (disk_error(errno.EROFS), 2, f"error: cannot use /data/a.json: {os.strerror(errno.EROFS)}: {FORBIDDEN}"),
        (disk_error(errno.EACCES), 2, f"error: cannot use /data/a.json: {os.strerror(errno.EACCES)}: {FORBIDDEN}"),
    ],
)
def test_what_a_user_can_mend_gives_a_code_and_one_line(capsys, error, code, line):
    assert exit_code(mock.Mock(side_effect=error)) == code
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("error", [ValueError("a defect"), disk_error(errno.ENOENT)], ids=["defect", "no such file"])
def test_any_other_error_is_passed_on(error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        exit_code(mock.Mock(side_effect=error))


def test_an_error_of_a_disk_may_have_no_number():
    assert str(unwritable("a.json", OSError("broken"))) == "cannot write a.json: broken"
