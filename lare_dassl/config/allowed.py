"""What each key of the configuration may hold beyond its type: the one table of ranges and choices.

A key that is not in the table, such as a switch or a path, takes any value of its type; numbers are finite and of
32 bits all the same. Names that a registry or a library knows (trainers, datasets, optimisers, models) are checked
against it, and what holds between several keys is checked in `config_checks`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lare_dassl.errors import InputError, shown
from lare_dassl.io.files import LONGEST_NAME, fault_of_path, fault_of_words
from lare_dassl.methods.lare.regions import PARAMETRISATIONS
from lare_dassl.methods.shared.linear import CLASSIFIER_INITS

from .split_settings import ALL_SHOTS, PROFILES

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# A range that is no wider is told whole.
NARROW = 100
LARGEST_WHOLE = 2**31 - 1


@dataclass(frozen=True)
class Allowed:
    """What a key may hold; of a list, each entry.

    Attributes:
        least: the least number.
        most: the greatest number.
        above: whether `least` itself is too low.
        below: whether `most` itself is too high.
        also: a number outside the range that is taken too, with a meaning of its own.
        choices: the only texts that are taken; empty for any.
        empty: whether a list may be empty.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    also: int | None = None
    choices: tuple[str, ...] = ()
    empty: bool = True

    def fault(self, value: Any) -> str:
        """What is wrong with a value of the key's type, as the rest of a sentence; "" for nothing."""
        if isinstance(value, list | tuple):
            return self._fault_of_list(value)
        if isinstance(value, str):
            return self._fault_of_text(value)
        return self._fault_of_number(value) if isinstance(value, int | float) else ""

    def _fault_of_list(self, values: Sequence[Any]) -> str:
        if not values and not self.empty:
            return "must have at least one entry, not []"
        faults = (fault_of_words(one) if isinstance(one, str) else self._fault_of_number(one) for one in values)
        return next(filter(None, faults), "")

    def _fault_of_number(self, value: float) -> str:
        if isinstance(value, bool) or value == self.also:
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be a finite number, not {value}"
        low = value <= self.least if self.above else value < self.least
        high = value >= self.most if self.below else value > self.most
        if low or high:
            return f"must {self._range(low)}, not {shown(value)}"
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE and self.most == math.inf:
            return f"must be at most {LARGEST_WHOLE}, not {shown(value)}"
        return ""

    def _range(self, low: bool) -> str:
        """The range in words; of a wide one only the end that was passed."""
        other = "" if self.also is None else f", or {self.also}"
        if self.most - self.least <= NARROW:
            first, last = "(" if self.above else "[", ")" if self.below else "]"
            return f"lie in {first}{self.least:g}, {self.most:g}{last}{other}"
        if low:
            return f"be {'above' if self.above else 'at least'} {_plain(self.least)}{other}"
        return f"be {'below' if self.below else 'at most'} {_plain(self.most)}{other}"

    def _fault_of_text(self, text: str) -> str:
        if not self.choices:
            return fault_of_path(text)
        if text in self.choices:
            return ""
        near = difflib.get_close_matches(text.lower()[:LONGEST_NAME], self.choices, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        return f"must be one of {', '.join(self.choices)}, not {shown(text)}{hint}"


def check_flag(flag: str, value: float | None, allowed: Allowed) -> None:
    """Refuse a number of a command line; None, for a flag that is not given, passes.

    Raises:
        InputError: names the flag, its value, and what is allowed.
    """
    fault = "" if value is None else allowed.fault(value)
    if fault:
        raise InputError(f"{flag} {fault}")


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


ANY = Allowed()
SHARE = Allowed(0, 1)
NOT_NEGATIVE = Allowed(0)
AT_LEAST_1 = Allowed(1)
# A step of the optimiser is a float32 number, and the product of rate and decay is one too.
RATE = Allowed(0, 1e18)
STRENGTH = Allowed(0, 1_000_000)
EPOCHS = Allowed(1, 1_000_000)
# Where 0 stands for as many epochs as a number of steps makes.
EPOCHS_OR_STEPS = Allowed(0, 1_000_000)
STEPS = Allowed(1, 1_000_000_000)
# Wider networks, and more samples of an image, are more likely a slip than a wish, and end in a lack of memory.
WIDTH = Allowed(1, 65_536)
SAMPLES = Allowed(0, 1000)
WORKERS = Allowed(0, 1024)
FITTING = {
    "ALPHA": SHARE,
    "HIDDEN_DIM": WIDTH,
    "EPOCHS": EPOCHS,
    "LR": Allowed(0, 1e18, above=True),
    "WEIGHT_DECAY": RATE,
    "BATCH_SIZE": AT_LEAST_1,
    "LOGIT_SCALE": STRENGTH,
}

ALLOWED: dict[str, Allowed] = {
    "SEED": Allowed(-1, 2**32 - 1),
    # How many images, and which.
    "DATASET.NUM_SHOTS": Allowed(1, also=ALL_SHOTS),
    "DATASET.NUM_LABELED": Allowed(-1),
    "DATASET.VAL_PERCENT": SHARE,
    "DATASET.VAL_FRACTION": Allowed(0, 1, below=True),
    "DATASET.TEST_FRACTION": Allowed(0, 1, below=True),
    "DATASET.EXPECTED_IMAGES": NOT_NEGATIVE,
    "DATASET.BAD_IMAGES": Allowed(choices=("error", "skip")),
    "DATASET.DUPLICATES": Allowed(choices=("warn", "error")),
    "DATASET.LONG_TAIL.RATIO": Allowed(1),
    "DATASET.LONG_TAIL.PROFILE": Allowed(choices=PROFILES),
    "DATASET.LONG_TAIL.MIN_IMAGES": NOT_NEGATIVE,
    # How they are read.
    "DATALOADER.NUM_WORKERS": WORKERS,
    "DATALOADER.K_TRANSFORMS": AT_LEAST_1,
    "DATALOADER.TRAIN_X.BATCH_SIZE": AT_LEAST_1,
    "DATALOADER.TRAIN_X.N_DOMAIN": NOT_NEGATIVE,
    "DATALOADER.TRAIN_X.N_INS": AT_LEAST_1,
    "DATALOADER.TRAIN_U.BATCH_SIZE": AT_LEAST_1,
    "DATALOADER.TRAIN_U.N_DOMAIN": NOT_NEGATIVE,
    "DATALOADER.TRAIN_U.N_INS": AT_LEAST_1,
    "DATALOADER.TEST.BATCH_SIZE": AT_LEAST_1,
    "INPUT.SIZE": Allowed(1, 65_536, empty=False),
    "INPUT.CROP_PADDING": NOT_NEGATIVE,
    "INPUT.PIXEL_STD": Allowed(0, above=True),
    "INPUT.RRCROP_SCALE": SHARE,
    "INPUT.CUTOUT_N": NOT_NEGATIVE,
    "INPUT.CUTOUT_LEN": NOT_NEGATIVE,
    "INPUT.GN_STD": NOT_NEGATIVE,
    "INPUT.RGS_P": SHARE,
    "INPUT.GB_P": SHARE,
    "INPUT.GB_K": AT_LEAST_1,
    # The frozen model and its embeddings.
    "VLM.PRECISION": Allowed(choices=PRECISIONS),
    "VLM.TEMPLATES": Allowed(empty=False),
    "EMBEDDINGS.BATCH_SIZE": AT_LEAST_1,
    "CLASSIFIER.INIT": Allowed(choices=CLASSIFIER_INITS),
    "MODEL.HEAD.DROPOUT": SHARE,
    # Training.
    "OPTIM.LR": RATE,
    "OPTIM.WEIGHT_DECAY": RATE,
    "OPTIM.MOMENTUM": Allowed(0, 1, below=True),
    "OPTIM.SGD_DAMPNING": SHARE,
    "OPTIM.RMSPROP_ALPHA": SHARE,
    "OPTIM.ADAM_BETA1": Allowed(0, 1, below=True),
    "OPTIM.ADAM_BETA2": Allowed(0, 1, below=True),
    "OPTIM.BASE_LR_MULT": Allowed(0, 100),
    "OPTIM.GAMMA": SHARE,
    "OPTIM.STEPSIZE": Allowed(-1, empty=False),
    "OPTIM.MAX_EPOCH": EPOCHS_OR_STEPS,
    "OPTIM.STEPS": STEPS,
    "OPTIM.WARMUP_EPOCH": Allowed(-1, 1_000_000),
    "OPTIM.WARMUP_CONS_LR": RATE,
    "OPTIM.WARMUP_MIN_LR": RATE,
    "TRAIN.CHECKPOINT_FREQ": Allowed(-1),
    "TRAIN.THREADS": WORKERS,
    "TRAIN.PRINT_FREQ": AT_LEAST_1,
    "TRAIN.COUNT_ITER": Allowed(choices=("train_x", "train_u", "smaller_one")),
    "TEST.FINAL_MODEL": Allowed(choices=("last_step", "best_val")),
    "TEST.SPLIT": Allowed(choices=("val", "test")),
    # The methods.
    **{f"TRAINER.{method}.{name}": allowed for method in ("LARE", "LADS") for name, allowed in FITTING.items()},
    "TRAINER.LARE.EPOCHS": EPOCHS_OR_STEPS,
    "TRAINER.LARE.STEPS": STEPS,
    "TRAINER.LARE.REGION": Allowed(choices=PARAMETRISATIONS),
    "TRAINER.LARE.SAMPLES_PER_IMAGE": SAMPLES,
    "TRAINER.GAUSSIANNOISE.SAMPLES_PER_IMAGE": SAMPLES,
    "TRAINER.GAUSSIANNOISE.SIGMA": STRENGTH,
    "TRAINER.TEXTINTERPOLATION.SAMPLES_PER_IMAGE": SAMPLES,
    "TRAINER.CLIPADAPTER.RATIO": SHARE,
    "TRAINER.CLIPADAPTER.REDUCTION": AT_LEAST_1,
    "TRAINER.CONTEXTOPTIMISATION.N_CTX": Allowed(1, 1024),
    "TRAINER.TIPADAPTER.ALPHA": STRENGTH,
    "TRAINER.TIPADAPTER.BETA": STRENGTH,
}
