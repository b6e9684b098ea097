"""Names of models and weights: refused if unknown, without loading anything or asking the network."""

from __future__ import annotations

from pathlib import Path

from lare_dassl.errors import InputError, unknown_name

from .openclip import LOCAL_DIR_PREFIX, open_clip, parse_model_name

DEMO_MODEL = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "assets" / "demo_coca"


def check_names(model: str, pretrained: str, allow_random: bool = False) -> tuple[str | None, str]:
    """Refuse unknown names of models and weights; nothing is loaded, and the network is not asked.

    Args:
        model: see `resolve`.
        pretrained: see `resolve`.
        allow_random: see `resolve`.

    Returns:
        Where the model comes from, "local-dir", "hf-hub" or None for open_clip's own, and its name there.

    Raises:
        InputError: unknown model or tag, missing file, or no weights asked for.
    """
    if not model:
        raise InputError("no model named: give --backbone (MODEL.BACKBONE.NAME), such as coca_ViT-L-14")
    try:
        schema, identifier = parse_model_name(f"{LOCAL_DIR_PREFIX}{DEMO_FOLDER}" if model == DEMO_MODEL else model)
    except ValueError as error:
        raise InputError(f"MODEL.BACKBONE.NAME '{model}': {error}") from error
    if schema is None:
        _check_named(model, pretrained, allow_random)
    elif pretrained:
        raise InputError(f"model {model} brings its own weights: leave VLM.PRETRAINED empty, not '{pretrained}'")
    return schema, identifier


def _check_named(model: str, pretrained: str, allow_random: bool) -> None:
    name = model.replace("/", "-")
    if open_clip.get_model_config(name) is None:
        raise unknown_name("model (MODEL.BACKBONE.NAME)", model, [*open_clip.list_models(), DEMO_MODEL])
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained and not allow_random:
        raise InputError(
            f"model {model} has no weights: set VLM.PRETRAINED to a weights file or a tag "
            f"({', '.join(tags) or 'there are none'}), or VLM.ALLOW_RANDOM True to test with random weights"
        )
    if pretrained and not open_clip.get_pretrained_cfg(name, pretrained) and not Path(pretrained).is_file():
        if Path(pretrained).suffix or "/" in pretrained:
            raise InputError(f"VLM.PRETRAINED: no weights file {pretrained}")
        raise unknown_name(f"VLM.PRETRAINED tag of {model} (or a file)", pretrained, tags)
