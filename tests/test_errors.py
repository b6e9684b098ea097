from __future__ import annotations

import errno
import os

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


def test_a_mistake_of_the_user_gives_2_and_one_line(capsys):
    def command():
        raise InputError("no config file x.yaml")

    assert exit_code(command) == 2
    assert capsys.readouterr().err == "error: no config file x.yaml\n"


def test_any_other_error_is_passed_on():
    def command():
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        exit_code(command)


def test_ctrl_c_is_one_line(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on from what is done\n"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room there and run again, what is done is kept"),
        (errno.EDQUOT, "make room there and run again, what is done is kept"),
        (errno.EROFS, "see to it that you may write there and run again, or give another folder"),
        (errno.EACCES, "see to it that you may write there and run again, or give another folder"),
    ],
)
def test_a_disk_that_cannot_be_written_gives_2_and_says_what_to_do(capsys, number, advice):
    def command():
        raise OSError(number, os.strerror(number), "/data/a.json")

    assert exit_code(command) == 2
    assert capsys.readouterr().err == f"error: cannot use /data/a.json: {os.strerror(number)}: {advice}\n"


def test_any_other_failure_of_the_system_is_passed_on():
    def command():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "a.json")

    with pytest.raises(FileNotFoundError):
        exit_code(command)
    assert str(unwritable("a.json", OSError("broken"))) == "cannot write a.json: broken"
