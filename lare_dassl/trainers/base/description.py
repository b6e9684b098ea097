"""Descriptions of the methods: each trainer class declares its own, and reports, benchmarks, help and docs read it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from lare_dassl.config.merging import leaf_keys, new_config
from lare_dassl.errors import unknown_name
from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.methods.shared.settings import Settings

Need = Literal["texts", "domain texts", "text tower", "validation rows", "latents"]
Head = Literal["linear", "adapter", "cache", "context"]
Group = Literal["paper", "sibling", "control", "other"]

LINEAR_HEADS = ("linear", "context")
"""Heads that are one linear layer after training, so that CLASSIFIER.AVERAGE applies."""

OWN = ("label", "place", "group", "colour", "joint")
"""Attributes that no class inherits."""

LAST = 1000
"""Place of a method that names none: behind those that do, by name."""


class Described:
    """Base of the trainers on embeddings; a subclass declares its method by these attributes.

    A subclass inherits them, but for those of OWN, which each class declares for itself.

    Attributes:
        label: name in tables and figures; the registered name where it is empty.
        place: position in tables and legends, ascending.
        group: "paper" for the methods that LARE's paper compares, which the demo runs; "sibling" for other published
            methods on frozen embeddings; "control" for methods that separate what LARE's parts contribute.
        colour: of its curves, a name of the palette in report/figures or "#RRGGBB"; "" lets the report choose.
        section: of the configuration with the method's keys, such as "TRAINER.LARE"; where it is empty,
            "TRAINER." and the registered name.
        settings_class: the frozen dataclass of those keys; None where there are none.
        head: kind of the classifier on embeddings. Those of LINEAR_HEADS can be averaged with the zero-shot
            classifier.
        augmentation: the embeddings that it adds to the real ones, in a few words; "" for none.
        needs: what it uses beside image embeddings and labels.
        ignores: settings without effect on it, or sections with a dot behind them.
        defaults: settings that replace those of the linear probe, by their keys.
        stage_folder: the folder within a run's that keeps the network of a first stage; "" where there is none.
        trains: False where nothing is trained; --eval-only then needs no trained model.
        joint: runs of this class that differ in their seed alone can be trained together, see base/seeds_together.py.
        paper: where the method was published.
    """

    label: ClassVar[str] = ""
    place: ClassVar[int] = LAST
    group: ClassVar[Group] = "other"
    colour: ClassVar[str] = ""
    section: ClassVar[str] = ""
    settings_class: ClassVar[type[Settings] | None] = None
    head: ClassVar[Head] = "linear"
    augmentation: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ()
    ignores: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[Mapping[str, Any]] = {}
    stage_folder: ClassVar[str] = ""
    trains: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    paper: ClassVar[str] = ""


@dataclass(frozen=True)
class Description:
    """A method as its trainer class declares it; see `Described` for the attributes.

    Attributes:
        name: registered name of the trainer.
        summary: the first sentence of the class's docstring.
    """

    name: str
    label: str
    section: str
    place: int = LAST
    group: Group = "other"
    colour: str = ""
    head: str = "linear"
    augmentation: str = ""
    needs: tuple[Need, ...] = ()
    ignores: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    stage_folder: str = ""
    trains: bool = True
    joint: bool = False
    paper: str = ""
    summary: str = ""

    def own_keys(self) -> dict[str, Any]:
        """The keys of its section, with their default values."""
        return {key: value for key, value in leaf_keys(new_config()) if key.startswith(f"{self.section}.")}

    def facts(self) -> dict[str, str]:
        """The facts of the method in help and docs, by title; "" for those that do not apply."""
        return {
            "adds": self.augmentation,
            "head": self.head if self.trains else f"{self.head}, not trained",
            "needs": ", ".join(self.needs),
            "keys": ", ".join(f"{key} {value}" for key, value in self.own_keys().items()),
            "sets": ", ".join(f"{key} {value}" for key, value in self.defaults.items()),
            "ignores": ", ".join(f"{key}*" if key.endswith(".") else key for key in self.ignores),
            "paper": self.paper,
        }


GUESTS = (Description("CoOp", "CoOp", "TRAINER.COOP", place=130, colour="reddish purple"),)
"""Trainers of other repositories that have a fixed place and colour in reports."""


def description_of(name: str) -> Description | None:
    """The description of a registered trainer on embeddings; None for any other name.

    >>> description_of("RegionCentre").section
    'TRAINER.LARE'
    >>> description_of("CoOp") is None
    True
    """
    trainer = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
    if not (isinstance(trainer, type) and issubclass(trainer, Described)):
        return None
    declared = {one.name: getattr(trainer, one.name) for one in fields(Description) if hasattr(Described, one.name)}
    own = {attribute: vars(trainer).get(attribute, getattr(Described, attribute)) for attribute in OWN}
    named = {
        "label": own["label"] or name,
        "section": trainer.section or f"TRAINER.{name.upper()}",
        "summary": (inspect.getdoc(trainer) or "").partition("\n")[0],
    }
    return Description(name=name, **declared | own | named)


def described() -> tuple[Description, ...]:
    """All registered trainers on embeddings, in the order of tables and legends: ours, then those of plugins by name.

    >>> [method.name for method in described()][:4]
    ['ZeroShot', 'FineTune', 'LADS', 'LARE']
    """
    found = (description_of(name) for name in TRAINER_REGISTRY.registered_names())
    return tuple(sorted(filter(None, found), key=lambda method: (method.place, method.name)))


def in_reports() -> dict[str, Description]:
    """The methods that reports know by name, in their order: `described()` and GUESTS."""
    methods = sorted((*described(), *GUESTS), key=lambda method: (method.place, method.name))
    return {method.name: method for method in methods}


def help_of(name: str) -> str:
    """The description of a registered trainer on embeddings, as lines of text.

    >>> print(help_of("CrossModal"))
    CrossModal: Each batch holds the class text embedding of each of its images too, with the image's label.
      adds     class text embeddings
      head     linear
      needs    texts
      paper    Lin et al., CVPR 2023, arXiv 2301.06267

    Raises:
        InputError: there is no such method; names the nearest one.
    """
    method = description_of(name)
    if method is None:
        raise unknown_name("method", name, [known.name for known in described()])
    title = name if method.label == name else f"{name} ({method.label})"
    facts = [f"  {fact:<7}  {text}" for fact, text in method.facts().items() if text]
    return "\n".join([f"{title}: {method.summary}", *facts])
