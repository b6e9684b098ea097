"""Settings of a method and of its classifier as frozen dataclasses, read and checked without any data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

from yacs.config import CfgNode

from lare_dassl.config.key import key_of
from lare_dassl.errors import InputError
from lare_dassl.methods.shared.settings import Settings

from .description import LINEAR_HEADS, Described
from .optimisation import check_optim

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_settings(kind: type[AnySettings], cfg: CfgNode, section: str) -> AnySettings:
    """The settings of a class that a section of a configuration holds, such as TRAINER.LARE.

    Raises:
        InputError: a value is out of its range; the message names the section.
    """
    trainer, name = section.split(".")
    with named(section):
        return kind(**{one.name: _plain(cfg[trainer][name][key_of(one)]) for one in fields(kind)})


def _plain(value: Any) -> Any:
    """A list as a tuple of names: YAML may have read a name as a number."""
    return tuple(map(str, value)) if isinstance(value, list) else value


@contextmanager
def named(section: str) -> Iterator[None]:
    """Put the section of the configuration before the message of what its settings raise."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{section}: {error}") from error


@dataclass(frozen=True)
class ClassifierSettings:
    """The section CLASSIFIER: the start of a linear classifier, and its average with the zero-shot one.

    Attributes:
        init: "random", or "text" for the zero-shot classifier.
        average: weight of the trained classifier in the average, in [0, 1]; None where validation rows choose it.
    """

    init: str
    average: float | None

    @classmethod
    def of(cls, cfg: CfgNode) -> Self:
        """The settings that a configuration holds.

        Raises:
            InputError: CLASSIFIER.AVERAGE is neither "val" nor a number in [0, 1].
        """
        text = cfg.CLASSIFIER.AVERAGE
        if text == "val":
            return cls(cfg.CLASSIFIER.INIT, None)
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not 0.0 <= weight <= 1.0:
            raise InputError(f"CLASSIFIER.AVERAGE must be val or a number in [0, 1], not '{text}'")
        return cls(cfg.CLASSIFIER.INIT, weight)


def check_shared_settings(cfg: CfgNode, trainer: type[Described]) -> None:
    """Refuse settings outside the method's own section that a trainer cannot work with.

    Raises:
        InputError: CLASSIFIER.AVERAGE is out of its range, or asks for an average of a classifier that is not linear;
            no optimiser can be made from OPTIM; best_val without tests.
    """
    linear = trainer.head in LINEAR_HEADS
    if ClassifierSettings.of(cfg).average != 1.0 and not linear:
        raise InputError(
            f"CLASSIFIER.AVERAGE {cfg.CLASSIFIER.AVERAGE} needs a linear classifier, which {cfg.TRAINER.NAME} has "
            "not: leave it at 1.0"
        )
    if cfg.TEST.FINAL_MODEL == "best_val" and cfg.TEST.NO_TEST:
        raise InputError("TEST.FINAL_MODEL best_val selects by tests, which TEST.NO_TEST leaves out: use last_step")
    if "OPTIM." not in trainer.ignores:
        check_optim(cfg.OPTIM, linear=linear)
