"""Prompts of classes and domains: from templates, or from files of descriptions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.datasets.base.checks import shown_names
from lare_dassl.datasets.base.class_names import comparable_name
from lare_dassl.errors import InputError
from lare_dassl.io.json_files import read_json


def class_prompts(vlm_cfg: CfgNode, classnames: Sequence[str], prompt_names: Sequence[str]) -> list[list[str]]:
    """The prompts of each class: those of VLM.PROMPTS_FILE where one is given, else of VLM.TEMPLATES.

    Raises:
        InputError: see `fill_templates` and `read_prompts_file`.
    """
    if vlm_cfg.PROMPTS_FILE:
        return read_prompts_file(Path(vlm_cfg.PROMPTS_FILE).expanduser(), classnames, prompt_names)
    return fill_templates("VLM.TEMPLATES", vlm_cfg.TEMPLATES, prompt_names)


def check_class_prompts(vlm_cfg: CfgNode) -> None:
    """Refuse prompts that can describe no class, before the classes are known.

    Raises:
        InputError: VLM.PROMPTS_FILE cannot be read, or a template of VLM.TEMPLATES has no {}.
    """
    if vlm_cfg.PROMPTS_FILE:
        _read_descriptions(Path(vlm_cfg.PROMPTS_FILE).expanduser())
    else:
        check_templates("VLM.TEMPLATES", vlm_cfg.TEMPLATES)


def fill_templates(key: str, templates: Sequence[str], prompt_names: Sequence[str]) -> list[list[str]]:
    """The prompts of each class from templates, such as "a photo of a {}.", that a key holds.

    Raises:
        InputError: no template, or one without {}.
    """
    check_templates(key, templates)

    def filled(name: str) -> list[str]:
        return [template.replace("{}", name) for template in templates]

    return list(map(filled, prompt_names))


def check_templates(key: str, templates: Sequence[Any]) -> None:
    """Refuse templates that do not name the class.

    Raises:
        InputError: no template, or one without {}.
    """
    if not templates:
        raise InputError(f"{key} is empty: give at least one prompt, such as 'a photo of a {{}}.'")
    for template in templates:
        if not isinstance(template, str) or "{}" not in template:
            raise InputError(f"{key}: '{template}' has no {{}} for the class name")


def domain_templates(dataset_cfg: CfgNode) -> dict[str, list[str]]:
    """The templates of each domain that DATASET.SOURCE_PROMPTS or DATASET.TARGET_PROMPTS describes.

    Which domains are sources is the run's choice, so a domain that only the other key describes counts as well; one
    that both describe is taken from SOURCE_PROMPTS.

    Raises:
        InputError: a description without {}.
    """
    described: dict[str, list[str]] = {}
    for key in ("SOURCE_PROMPTS", "TARGET_PROMPTS"):
        for domain, given in dataset_cfg[key].items():
            templates = [given] if isinstance(given, str) else list(given)
            check_templates(f"DATASET.{key}.{domain}", templates)
            described.setdefault(domain, templates)
    return described


def read_prompts_file(path: Path, classnames: Sequence[str], prompt_names: Sequence[str]) -> list[list[str]]:
    """The descriptions of each class in a JSON file {"class name": ["description", ...]} (CuPL, Pratt et al., 2023).

    A class is found by its name in the dataset or in prompts; capitals, underscores, hyphens and a number in front do
    not count. Entries of other classes are not used.

    Args:
        path: the file.
        classnames: C names as the dataset has them.
        prompt_names: the same C names as prompts have them.

    Raises:
        InputError: the file is missing or malformed, or lacks a class.
    """
    of_name = {comparable_name(name): descriptions for name, descriptions in _read_descriptions(path).items()}
    found = [
        of_name.get(comparable_name(name), of_name.get(comparable_name(spoken)))
        for name, spoken in zip(classnames, prompt_names, strict=True)
    ]
    lacking = [name for name, descriptions in zip(prompt_names, found, strict=True) if descriptions is None]
    if lacking:
        raise InputError(
            f"VLM.PROMPTS_FILE '{path}' has no descriptions of {shown_names(lacking)}{_nearest(lacking[0], of_name)}"
        )
    return [descriptions for descriptions in found if descriptions is not None]


def _read_descriptions(path: Path) -> dict[str, list[str]]:
    try:
        content = read_json(path, _without_doubles)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read VLM.PROMPTS_FILE '{path}': {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"VLM.PROMPTS_FILE '{path}' is not a JSON object of class names and lists of descriptions")
    for name, descriptions in content.items():
        texts = isinstance(descriptions, list) and all(isinstance(text, str) and text.strip() for text in descriptions)
        if not texts or not descriptions:
            raise InputError(f"VLM.PROMPTS_FILE '{path}': '{name}' must have a list of descriptions, at least one")
    return content


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [comparable_name(name) for name, _ in pairs]
    for place, (name, _) in enumerate(pairs):
        if names[place] in names[:place]:
            raise ValueError(f"class '{name}' is in it twice")
    return dict(pairs)


def _nearest(name: str, known: dict[str, Any]) -> str:
    near = difflib.get_close_matches(comparable_name(name), known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
