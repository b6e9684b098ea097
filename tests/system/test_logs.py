from __future__ import annotations

import logging

import pytest

from lare_dassl.system.logs import start_logging


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root, package = logging.getLogger(), logging.getLogger("lare_dassl")
    before = root.handlers[:], root.level, package.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, package.level, logging.raiseExceptions = before


def test_the_library_is_heard_on_standard_output_and_others_only_when_they_warn(capsys):
    start_logging()
    logging.getLogger("lare_dassl.commands.run").info("ours")
    logging.getLogger("another").info("theirs")
    logging.getLogger("another").warning("their warning")
    assert capsys.readouterr().out == "ours\ntheir warning\n"


def test_a_level_can_be_asked_for(capsys):
    start_logging(logging.WARNING)
    logging.getLogger("lare_dassl.commands.run").info("quiet")
    logging.getLogger("lare_dassl.commands.run").warning("loud")
    assert capsys.readouterr().out == "loud\n"


def test_it_is_heard_though_a_package_has_silenced_the_process(capsys):
    logging.disable(logging.WARNING)
    start_logging()
    logging.getLogger("lare_dassl.commands.run").info("heard")
    assert capsys.readouterr().out == "heard\n"
