"""RunFacts: the facts of a run that its plan holds already; and the check of JSON content against a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from lare_dassl.config.merging import leaf_keys
from lare_dassl.errors import InputError, all_printable, printable, shortened

GENERIC_DATASETS = ("DomainFolders", "EmbeddingFile")
"""Registered names that stand for many datasets, which are identified by their origin or root."""
USUAL_SPLIT = "test"

Checked = TypeVar("Checked", bound=BaseModel)


class StrictModel(BaseModel):
    """A frozen model that converts nothing: "1" and True are no numbers."""

    model_config = ConfigDict(frozen=True, strict=True)


class RunFacts(StrictModel):
    """Facts of a run that are known as soon as it is planned.

    Attributes:
        trainer: registered name of the trainer.
        dataset: registered name of the dataset.
        seed: of the run.
        shots: training images per class; -1 for all.
        imbalance: ratio of the largest class to the smallest; 1 for no long tail.
        config: the whole configuration, or in records of other tools some of it.
    """

    trainer: str
    dataset: str
    seed: int
    shots: int
    imbalance: float
    config: dict[str, JsonValue]

    @classmethod
    def of(cls, config: Mapping[str, Any], **more: Any) -> Self:
        """The facts of the run that a whole configuration describes; `more` holds the fields of a subclass."""
        dataset = config["DATASET"]
        return cls(
            trainer=config["TRAINER"]["NAME"],
            dataset=dataset["NAME"],
            seed=config["SEED"],
            shots=dataset["NUM_SHOTS"],
            imbalance=dataset["LONG_TAIL"]["RATIO"],
            config=dict(config),
            **more,
        )

    @cached_property
    def settings(self) -> dict[str, JsonValue]:
        """The values of the configuration by their dotted keys."""
        return dict(leaf_keys(self.config))

    @property
    def dataset_label(self) -> str:
        """Name of the dataset in tables, see dataset_label."""
        return dataset_label(self.dataset, self.settings)

    @property
    def tested_split(self) -> str:
        """The split that the run is to be tested on."""
        return str(self.settings.get("TEST.SPLIT") or USUAL_SPLIT)

    @property
    def weights(self) -> str | None:
        """Hash of the weights of the frozen model; None where it is not known."""
        return None

    def printable(self) -> Self:
        """The same with every text in one line and without control characters, see errors.printable."""
        return type(self).model_validate(all_printable(self.model_dump(exclude_unset=True)))


def dataset_label(name: str, settings: Mapping[str, Any]) -> str:
    """Name of a dataset in tables; of a generic one its origin, or the name of its root folder or file.

    Args:
        name: registered name.
        settings: of a run on it, by their dotted keys.

    >>> dataset_label("EmbeddingFile", {"DATASET.ROOT": "data/birds.safetensors"})
    'birds'
    """
    if name not in GENERIC_DATASETS:
        return name
    root = str(settings.get("DATASET.ROOT") or "")
    return str(settings.get("DATASET.ORIGIN") or Path(root).stem or name)


def checked(model: type[Checked], content: object, where: str) -> Checked:
    """JSON content as a model.

    Args:
        model: to be made.
        content: as JSON gave it.
        where: file or entry that the content is from, for the message.

    Raises:
        InputError: names the first field that is missing or of another type.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        field = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
    raise InputError(f"{where} holds no usable '{printable(shortened(field))}'")
